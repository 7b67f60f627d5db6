"""The one configuration object. Every environment variable Pellucid reads is read here and
documented here.

| variable | meaning | default |
|---|---|---|
| `PELLUCID_CACHE_DIR` | folder of compiled code and machine limits | the user's cache folder |
| `PELLUCID_CACHE` | `0` turns the on-disk compile cache off | `1` |
| `PELLUCID_THREADS` | threads of the pool, at most 1024 | the cores this process may use |
| `PELLUCID_LOG` | log level: `debug`, `info`, `warning`, `error` | `warning` |
| `PELLUCID_DISABLE_PASSES` | comma-separated names of graph passes to leave out | none |
| `PELLUCID_UNSAFE_MATH` | `1` allows float rewrites that can change the last bits | `0` |
| `PELLUCID_EAGER_COMPILE_BYTES` | from this many bytes on, eager ops compile at once | `16777216` |
| `PELLUCID_DUMP` | folder for every program's graphs, loops and LLVM IR | none |
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pellucid.core.errors import ArgumentError, did_you_mean

MOST_THREADS = 1024  # each has a stack, and scratch memory in every program
_LEVELS = ("debug", "info", "warning", "error")
_KNOWN = tuple(
    f"PELLUCID_{n}"
    for n in (
        "CACHE_DIR",
        "CACHE",
        "THREADS",
        "LOG",
        "DISABLE_PASSES",
        "UNSAFE_MATH",
        "EAGER_COMPILE_BYTES",
        "DUMP",
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings that hold for a whole process; passed in, never changed. See the module's table."""

    cache_dir: Path
    cache: bool = True
    threads: int = 1
    log: str = "warning"
    disable_passes: tuple[str, ...] = ()
    unsafe_math: bool = False
    eager_compile_bytes: int = 1 << 24
    dump: Path | None = None


def _user_cache_dir(env: Mapping[str, str]) -> Path:
    if sys.platform == "win32":
        return Path(env.get("LOCALAPPDATA", str(Path.home()))) / "pellucid" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pellucid"
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pellucid"


def usable_cores() -> int:
    """Cores this process may run on (its affinity mask where the system has one), at most 1024."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)


def _integer(env: Mapping[str, str], name: str, default: int, bounds: tuple[int, int]) -> int:
    text, (least, most) = env.get(name, ""), bounds
    if not text:
        return default
    # the length first: int() refuses very long texts with an error of its own
    if not re.fullmatch("[0-9]{1,1000}", text) or not least <= int(text) <= most:
        rule = f"{name} must be an integer between {least} and {most}"
        raise ArgumentError("config", rule, operands={name: _shown(text)})
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _switch(env: Mapping[str, str], name: str, default: bool) -> bool:
    text = env.get(name, "")
    if text not in ("", "0", "1"):
        raise ArgumentError("config", f"{name} must be 0 or 1", operands={name: _shown(text)})
    return default if not text else text == "1"


def read_config(env: Mapping[str, str] | None = None) -> Config:
    """The configuration that the environment describes.

    Raises:
        ArgumentError: a `PELLUCID_` variable is unknown or its value does not fit.
    """
    env = os.environ if env is None else env
    for name in env:
        if name.startswith("PELLUCID_") and name not in _KNOWN:
            # what all names begin with says nothing of which was meant
            hint = did_you_mean(name, _KNOWN, prefix="PELLUCID_")
            fix = hint or f"unset it; there are {', '.join(_KNOWN)}"
            raise ArgumentError("config", f"unknown environment variable {name}", fix=fix)
    log = env.get("PELLUCID_LOG", "").lower() or "warning"
    if log not in _LEVELS:
        raise ArgumentError(
            "config",
            f"PELLUCID_LOG must be one of {', '.join(_LEVELS)}",
            operands={"it": _shown(log)},
        )
    return Config(
        cache_dir=Path(env.get("PELLUCID_CACHE_DIR") or _user_cache_dir(env)),
        cache=_switch(env, "PELLUCID_CACHE", True),
        threads=_integer(env, "PELLUCID_THREADS", usable_cores(), (1, MOST_THREADS)),
        log=log,
        disable_passes=tuple(filter(None, env.get("PELLUCID_DISABLE_PASSES", "").split(","))),
        unsafe_math=_switch(env, "PELLUCID_UNSAFE_MATH", False),
        eager_compile_bytes=_integer(
            env, "PELLUCID_EAGER_COMPILE_BYTES", 1 << 24, (0, (1 << 63) - 1)
        ),
        dump=Path(env["PELLUCID_DUMP"]) if env.get("PELLUCID_DUMP") else None,
    )


@functools.cache
def current_config() -> Config:
    """The configuration of this process: the environment's, as it was when first asked for.

    A function, so that importing the package raises nothing: who first needs a setting is told, and
    a command can say it in one line.

    Raises:
        ArgumentError: a `PELLUCID_` variable is unknown or its value does not fit; each time, until
            it does.
    """
    return read_config()
