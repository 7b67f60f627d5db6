"""Where in the user's program we are: the innermost frame outside the package.

The programs of the `pellucid` command count as the user's: they are what its tour is about.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"  # as imported, not resolved: frames say it so
_PROGRAMS = f"{_PACKAGE}command{os.sep}"


def user_line() -> str:
    """`file.py:12` of the innermost caller outside Pellucid, or an empty string."""
    frame = sys._getframe(1)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]  # the loop ends at None
    if frame is None:
        return ""
    return f"{frame.f_code.co_filename.rpartition(os.sep)[2]}:{frame.f_lineno}"


def is_ours(path: str) -> bool:
    """Whether code of this file belongs to the package and not to the user."""
    return path.startswith(_PACKAGE) and not path.startswith(_PROGRAMS)
