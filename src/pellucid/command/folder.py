"""The tour's folder: looked at before the work, and held while it lasts.

Enters: a path. Leaves: the same folder, made and writable, which no second tour writes into.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pellucid.core.errors import ArgumentError
from pellucid.core.log import get_logger

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOG = get_logger("command")
_OTHER = "choose another with --output"


def check_folder(folder: Path, files: Sequence[str]) -> None:
    """Make the folder unless it is there, and see whether `files` can be written into it.

    Raises:
        ArgumentError: it cannot be written, or something else has one of the names.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArgumentError("tour", f"{folder} cannot be written ({error})", fix=_OTHER) from None
    for name in files:
        if (path := folder / name).exists() and not path.is_file():
            raise ArgumentError("tour", f"{path} is in the way: it is no file", fix=_OTHER)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other tours out of the folder; the system lets go when this process ends, anyhow.

    Where the file system knows no locks, nothing is kept out.

    Raises:
        ArgumentError: another process, or another tour of this one, holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            _lock(folder, stack)
        except BlockingIOError:
            rule = f"another tour is writing into {folder}"
            raise ArgumentError("tour", rule, fix=f"wait for it, or {_OTHER}") from None
        except OSError as error:
            LOG.info("%s cannot be locked: %s", folder, error)
        yield


if sys.platform == "win32":

    def _lock(folder: Path, stack: contextlib.ExitStack) -> None:
        """Windows locks bytes of files, not folders; this file goes when it is closed."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TEMPORARY | os.O_NOINHERIT
        try:
            handle = os.open(folder / ".pellucid-tour.lock", flags)
            stack.callback(os.close, handle)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None

else:

    def _lock(folder: Path, stack: contextlib.ExitStack) -> None:
        handle = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
