"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def write_atomically(path: str | Path, data: bytes, *, flush: bool = False) -> None:
    """Write a file so that others see all of it or nothing, even when this is interrupted.

    Args:
        path: the file; one that is there is replaced.
        data: its contents.
        flush: wait until the disk has it, so that a power cut does not lose the old file too.

    Raises:
        OSError: the folder cannot be written.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        part.replace(target)
    except BaseException:  # an interrupt must not leave the part behind either
        with contextlib.suppress(OSError):
            part.unlink()
        raise
