"""Import, the first step with nothing compiled before, and with what the disk cache has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from pellucid.bench.fresh import INFER, run_fresh, run_import
from pellucid.bench.inference import INPUTS
from pellucid.bench.peers import PEERS
from pellucid.bench.row import OURS, Goal, Row, Samples, Setting
from pellucid.bench.works import WORKS
from pellucid.core.errors import ArgumentError

_COLD, _WARM, _IMPORTS = 2, 5, 7


def caches(folder: Path) -> dict[str, str]:
    """Environment variables that put every framework's cache of compiled code into a folder."""
    return {
        "PELLUCID_CACHE_DIR": str(folder / "pellucid"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def sample_each(
    setting: Setting, peers: tuple[str, ...], measure: Callable[[str], list[float]]
) -> Samples:
    """Measurements of ours and of those peers that take part."""
    seen: dict[str, list[float]] = {}
    errors: dict[str, str] = {}
    for who in (OURS, *(p for p in peers if setting.wants(p))):
        missing = PEERS[who].missing() if who in PEERS else ""
        if missing:
            errors[who] = missing
            continue
        try:
            seen[who] = measure(who)
        except ArgumentError as error:
            if who == OURS:
                raise
            errors[who] = str(error)
    return Samples(seen=seen, errors=errors)


def _import(setting: Setting) -> Samples:
    count = 1 if setting.quick else _IMPORTS

    def seconds(who: str) -> list[float]:
        run_import(who, setting.threads)  # byte code and files are there from now on
        return [run_import(who, setting.threads) for _ in range(count)]

    return sample_each(setting, ("numpy", "torch", "jax"), seconds)


def _cold(work: str) -> Callable[[Setting], Samples]:
    def seconds_of(setting: Setting) -> Samples:
        def seconds(who: str) -> list[float]:
            return [_first(work, who, setting, 0)[0] for _ in range(1 if setting.quick else _COLD)]

        return sample_each(setting, ("torch.compile", "jax"), seconds)

    return seconds_of


def _warm(work: str, peers: tuple[str, ...]) -> Callable[[Setting], Samples]:
    def seconds_of(setting: Setting) -> Samples:
        def seconds(who: str) -> list[float]:
            return _first(work, who, setting, 1 if setting.quick else _WARM)[1:]

        return sample_each(setting, peers, seconds)

    return seconds_of


def _first(work: str, who: str, setting: Setting, again: int) -> list[float]:
    """Seconds of the first step in a process with empty caches, then in others that share them."""
    with tempfile.TemporaryDirectory() as folder:
        env = caches(Path(folder))
        return [run_fresh("first", work, who, setting.threads, **env) for _ in range(1 + again)]


_COLD_GOAL = Goal(peers={"torch.compile": 8.0, "jax": 1.0})

ROWS = (
    Row(name="import", group="startup", goal=Goal(most=0.25), make=_import),
    *(
        Row(name=f"cold {w.name}", group="startup", goal=_COLD_GOAL, make=_cold(w.name))
        for w in WORKS
    ),
    *(
        Row(
            name=f"warm {w.name}",
            group="startup",
            goal=Goal(most=0.3),
            make=_warm(w.name, ("torch.compile", "jax")),
        )
        for w in WORKS
    ),
    *(
        Row(
            name=f"warm infer {name}",
            group="startup",
            goal=Goal(most=0.3),
            make=_warm(INFER + name, ()),
        )
        for name in INPUTS
    ),
)
