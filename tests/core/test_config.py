from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from pellucid.core.config import Config, current_config, read_config, usable_cores
from pellucid.core.errors import ArgumentError


def test_defaults() -> None:
    config = read_config({})
    assert config.threads == usable_cores() >= 1
    assert (config.cache, config.log, config.unsafe_math) == (True, "warning", False)
    assert (config.disable_passes, config.dump) == ((), None)


def test_every_variable_is_read() -> None:
    config = read_config(
        {
            "PELLUCID_CACHE_DIR": "some/where",
            "PELLUCID_CACHE": "0",
            "PELLUCID_THREADS": "3",
            "PELLUCID_LOG": "DEBUG",
            "PELLUCID_DISABLE_PASSES": "group_fusion,,fold_constants",
            "PELLUCID_UNSAFE_MATH": "1",
            "PELLUCID_EAGER_COMPILE_BYTES": "0",
            "PELLUCID_DUMP": "dump",
        }
    )
    assert config == Config(
        cache_dir=Path("some/where"), cache=False, threads=3, log="debug",
        disable_passes=("group_fusion", "fold_constants"), unsafe_math=True,
        eager_compile_bytes=0, dump=Path("dump"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "PELLUCID_THREDS",
            "2",
            "unknown environment variable PELLUCID_THREDS.*'PELLUCID_THREADS'",
        ),
        (
            "PELLUCID_THREADS",
            "0",
            "must be an integer between 1 and 1024, got PELLUCID_THREADS '0'",
        ),
        (
            "PELLUCID_FOO",
            "1",
            r"unknown environment variable PELLUCID_FOO\. Fix: unset it; there are",
        ),
        ("PELLUCID_THREADS", "two", "must be an integer"),
        ("PELLUCID_THREADS", "--5", "must be an integer"),
        ("PELLUCID_THREADS", "1025", "between 1 and 1024, got PELLUCID_THREADS '1025'"),
        ("PELLUCID_THREADS", "9" * 5000, r"between 1 and 1024, got PELLUCID_THREADS '9{40}\.\.\.'"),
        ("PELLUCID_EAGER_COMPILE_BYTES", "9" * 5000, "must be an integer"),
        ("PELLUCID_THREADS", "\u00b2", "must be an integer"),  # a digit to str.isdigit
        ("PELLUCID_EAGER_COMPILE_BYTES", "-1", "integer between 0 and"),
        ("PELLUCID_CACHE", "yes", "must be 0 or 1"),
        ("PELLUCID_LOG", "loud", "must be one of debug"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_config({name: value})


USE = """
import pellucid as pl
try:
    pl.jit(lambda x: x + 1)(pl.ones(3))
except pl.PellucidError as error:
    print(type(error).__name__, error)
"""


def test_importing_reads_nothing_that_could_be_wrong() -> None:
    env = {**os.environ, "PELLUCID_LOG": "loud"}
    done = subprocess.run(
        [sys.executable, "-c", USE], env=env, check=False, capture_output=True, text=True
    )
    assert done.stdout.startswith("ArgumentError config: PELLUCID_LOG must be one of"), done
    assert done.stderr == ""


def test_the_configuration_is_read_once() -> None:
    assert current_config() is current_config()


def test_empty_means_unset() -> None:
    assert read_config({"PELLUCID_THREADS": "", "PELLUCID_DUMP": ""}) == read_config({})


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folder is Linux's")
def test_the_users_cache_folder() -> None:
    assert read_config({"XDG_CACHE_HOME": "/x"}).cache_dir == Path("/x/pellucid")


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        read_config({}).threads = 7  # type: ignore[misc]  # what is tested
