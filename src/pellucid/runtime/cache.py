"""The compile cache: bytes by content key, in memory and on disk.

Enters: a key (a hexadecimal digest of everything the bytes depend on) and bytes. Leaves: those
bytes, or None. What is stored, and what goes into the key, is the caller's business.

A file is written beside its place and moved there in one step, so neither a second process nor an
interrupt ever sees half of one; a checksum of key and bytes catches what was damaged or copied to
another key's place afterwards. Losing an entry only costs a compilation, so trouble with the disk
is reported once and then ignored.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from pellucid.core.config import Config, current_config
from pellucid.core.errors import ArgumentError
from pellucid.core.files import write_atomically
from pellucid.core.log import get_logger

LOG = get_logger("runtime.cache")
DISK_LIMIT_BYTES = 1 << 30
MEMORY_LIMIT_BYTES = 64 << 20
_MAGIC = b"pellucid2\n"
_HEAD = len(_MAGIC) + 32
_KEY = re.compile(r"[0-9a-f]{16,128}")
_SHRINK_TO = 0.8  # of the limit, so that eviction is rare


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache folder holds. Sizes in bytes."""

    folder: Path
    entries: int
    nbytes: int
    limit_bytes: int
    usable: bool


class DiskStore:
    """Checksummed files in `folder`, the least recently used evicted above `limit_bytes`."""

    def __init__(self, folder: Path, limit_bytes: int = DISK_LIMIT_BYTES) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self.usable = True
        self._nbytes: int | None = (
            None  # known after the first write; other processes make it a guess
        )
        self._lock = threading.Lock()

    def path(self, key: str) -> Path:
        """Where `key` is kept.

        Raises:
            ArgumentError: the key is not a hexadecimal digest.
        """
        if not _KEY.fullmatch(key):
            raise ArgumentError(
                "cache", "keys are hexadecimal digests", operands={"key": repr(key)}
            )
        return self.folder / key[:2] / key[2:]

    def get(self, key: str) -> bytes | None:
        """The bytes stored under `key`; None if there are none or they are damaged."""
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error)
            return None
        payload = data[_HEAD:]
        if data[:_HEAD] != _head(key, payload):
            LOG.warning("%s is damaged; compiling again", path)
            _remove(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # marks it as recently used
        return payload

    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`; a folder that cannot be written is reported once."""
        if not self.usable:
            return
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _head(key, data) + data)
        except OSError as error:
            self._give_up(error)
            return
        self._grow(_HEAD + len(data))

    def info(self) -> CacheInfo:
        """Count what is there, and see whether the folder can be written."""
        usable = self.usable and _can_be_written(self.folder)
        files = self._files()
        total = sum(size for _, size, _ in files)
        return CacheInfo(self.folder, len(files), total, self.limit_bytes, usable)

    def clear(self) -> int:
        """Remove all entries; returns how many."""
        files = self._files()
        for _, _, path in files:
            _remove(path)
        self._nbytes = None
        return len(files)

    def _give_up(self, error: OSError) -> None:
        if self.usable:
            self.usable = False
            LOG.warning(
                "the compile cache %s cannot be used, going on without: %s", self.folder, error
            )

    def _grow(self, added: int) -> None:
        """Count `added` bytes, and evict when over the limit."""
        with self._lock:
            if self._nbytes is None:
                self._nbytes = sum(size for _, size, _ in self._files())
            else:
                self._nbytes += added
            if self._nbytes > self.limit_bytes:
                self._nbytes = self._evict()

    def _evict(self) -> int:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= _SHRINK_TO * self.limit_bytes:
                break
            _remove(path)
            total -= size
        return total

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of each entry that no other process removes meanwhile."""
        found = []
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_size, path))
        return found


class Cache:
    """Recently used entries in memory, all of them on disk where there is a usable folder."""

    def __init__(
        self, disk: DiskStore | None, memory_limit_bytes: int = MEMORY_LIMIT_BYTES
    ) -> None:
        self.disk, self.memory_limit_bytes = disk, memory_limit_bytes
        self._memory: OrderedDict[str, bytes] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        data = self.disk.get(key) if self.disk else None
        if data is not None:
            self._remember(key, data)
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`."""
        self._remember(key, data)
        if self.disk:
            self.disk.put(key, data)

    def _remember(self, key: str, data: bytes) -> None:
        with self._lock:
            self._nbytes += len(data) - len(self._memory.pop(key, b""))
            self._memory[key] = data
            while self._nbytes > self.memory_limit_bytes:
                _, oldest = self._memory.popitem(last=False)
                self._nbytes -= len(oldest)


def open_cache(config: Config | None = None) -> Cache:
    """The cache for `config`: one per folder, so that programs share what they compile."""
    config = config or current_config()
    return _open(config.cache_dir / "programs" if config.cache else None)


@functools.cache
def _open(folder: Path | None) -> Cache:
    return Cache(DiskStore(folder) if folder else None)


def _head(key: str, data: bytes) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\n")
    digest.update(data)  # not joined to the key: programs with constants are large
    return _MAGIC + digest.digest()


def _can_be_written(folder: Path) -> bool:
    """Whether files can be made in the folder, itself made first if need be."""
    there = next((p for p in (folder, *folder.parents) if os.path.exists(p)), Path())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
