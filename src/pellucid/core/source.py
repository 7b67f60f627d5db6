"""Where in the user's program we are: the innermost frame outside the package.

The programs of the `pellucid` command count as the user's: they are what its tour is about.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"  # as imported, not resolved: frames say it so
_PROGRAMS = f"{_PACKAGE}command{os.sep}"


def user_place() -> tuple[str, int]:
    """File and line of the innermost caller outside Pellucid; an empty file where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_line() -> str:
    """`file.py:12` of the innermost caller outside Pellucid, or an empty string."""
    path, line = user_place()
    return f"{path.rpartition(os.sep)[2]}:{line}" if path else ""


def is_ours(path: str) -> bool:
    """Whether code of this file belongs to the package and not to the user."""
    return path.startswith(_PACKAGE) and not path.startswith(_PROGRAMS)
