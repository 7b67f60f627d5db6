"""The compile cache keeps bytes, and survives damage, unwritable folders and other processes."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.core.config import Config
from pellucid.core.errors import ArgumentError
from pellucid.runtime.cache import Cache, DiskStore, open_cache


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    root = logging.getLogger("pellucid")
    root.addHandler(caplog.handler)
    yield caplog
    root.removeHandler(caplog.handler)


def test_bytes_come_back_in_another_object(tmp_path: Path) -> None:
    DiskStore(tmp_path).put(key_of("a"), b"code")
    assert DiskStore(tmp_path).get(key_of("a")) == b"code"
    assert DiskStore(tmp_path).get(key_of("b")) is None


def test_empty_and_large_entries(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    for data in (b"", os.urandom(300_000)):
        store.put(key_of("x"), data)
        assert store.get(key_of("x")) == data


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "append", "foreign"])
def test_a_damaged_file_counts_as_missing_and_is_overwritten(
    tmp_path: Path, damage: str, records: pytest.LogCaptureFixture
) -> None:
    store, key = DiskStore(tmp_path), key_of("a")
    store.put(key, b"0123456789" * 10)
    path = store.path(key)
    good = path.read_bytes()
    flipped = bytes([*good[:-1], good[-1] ^ 1])
    spoilt = {"truncate": good[:-5], "empty": b"", "flip": flipped, "append": good + b"x"}
    path.write_bytes(spoilt.get(damage, b"#!/bin/sh\n"))
    assert store.get(key) is None
    assert "is damaged; compiling again" in records.text
    store.put(key, b"new")
    assert store.get(key) == b"new"


def test_an_entry_copied_to_another_keys_place_is_not_believed(
    tmp_path: Path, records: pytest.LogCaptureFixture
) -> None:
    store, a, b = DiskStore(tmp_path), key_of("a"), key_of("b")
    store.put(a, b"code of a")
    store.path(b).parent.mkdir(exist_ok=True)
    store.path(b).write_bytes(store.path(a).read_bytes())
    assert store.get(b) is None
    assert "is damaged" in records.text
    assert store.get(a) == b"code of a"


def test_info_says_whether_the_folder_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert DiskStore(tmp_path / "to" / "be made").info().usable
    assert not DiskStore(tmp_path / "file").info().usable
    assert not DiskStore(tmp_path / "file" / "below").info().usable


def test_a_folder_that_cannot_be_made_warns_once(
    tmp_path: Path, records: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = Cache(DiskStore(tmp_path / "file" / "cache"))
    cache.put(key_of("a"), b"code")
    cache.put(key_of("b"), b"more")
    assert cache.get(key_of("a")) == b"code"
    assert cache.get(key_of("c")) is None
    assert records.text.count("cannot be used, going on without") == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_warns_once(tmp_path: Path, records: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o500)
    try:
        cache = Cache(DiskStore(tmp_path))
        cache.put(key_of("a"), b"code")
        assert cache.get(key_of("a")) == b"code"
        assert records.text.count("going on without") == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_warns_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: pytest.LogCaptureFixture
) -> None:
    def full(src: str, dst: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    DiskStore(tmp_path).put(key_of("a"), b"code")
    assert "No space left" in records.text
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_interrupt_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(src: str, dst: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        DiskStore(tmp_path).put(key_of("a"), b"code")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    monkeypatch.undo()
    assert DiskStore(tmp_path).get(key_of("a")) is None


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, limit_bytes=10_500)
    for i in range(10):
        store.put(key_of(str(i)), b"x" * 1000)
        os.utime(store.path(key_of(str(i))), (i, i))
    assert store.get(key_of("0")) is not None  # now the most recently used
    store.put(key_of("new"), b"x" * 1000)
    assert store.get(key_of("0")) is not None
    assert store.get(key_of("new")) is not None
    assert store.get(key_of("1")) is None
    assert store.info().nbytes <= 10_500


def test_info_and_clear(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(key_of("a"), b"12345")
    info = store.info()
    assert (info.entries, info.usable) == (1, True)
    assert info.nbytes > 5
    assert store.clear() == 1
    assert store.info().entries == 0


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "ABC", "0" * 8, "a/b"])
def test_keys_that_are_no_digest_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ArgumentError, match="hexadecimal digests"):
        DiskStore(tmp_path).get(key)


def test_memory_keeps_only_its_limit() -> None:
    cache = Cache(None, memory_limit_bytes=100)
    for name in "abc":
        cache.put(key_of(name), b"x" * 40)
    assert cache.get(key_of("a")) is None
    assert cache.get(key_of("b")) == b"x" * 40
    cache.put(key_of("d"), b"x" * 40)  # b was used after c
    assert cache.get(key_of("c")) is None
    assert cache.get(key_of("b")) is not None


def test_memory_serves_after_the_file_is_gone(tmp_path: Path) -> None:
    cache = Cache(DiskStore(tmp_path))
    cache.put(key_of("a"), b"code")
    assert cache.disk is not None
    cache.disk.clear()
    assert cache.get(key_of("a")) == b"code"


def test_the_configuration_chooses_the_folder(tmp_path: Path) -> None:
    on = open_cache(Config(cache_dir=tmp_path))
    assert on is open_cache(Config(cache_dir=tmp_path))
    assert on.disk is not None
    assert on.disk.folder.parent == tmp_path
    assert open_cache(Config(cache_dir=tmp_path, cache=False)).disk is None


WRITER = """
import sys
from pathlib import Path
from pellucid.runtime.cache import DiskStore
store = DiskStore(Path(sys.argv[1]), limit_bytes=200_000)
for i in range(150):
    key = f"{i % 7:064x}"
    data = store.get(key)
    if data is not None and data != bytes([i % 7]) * 20_000:
        sys.exit("half a file was seen")
    store.put(key, bytes([i % 7]) * 20_000)
"""


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert DiskStore(tmp_path).info().entries == 7
