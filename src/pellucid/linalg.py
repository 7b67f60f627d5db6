"""`pellucid.linalg`: see `tensor/linalg.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.tensor import linalg
from pellucid.tensor.hints import answers
from pellucid.tensor.linalg import *  # noqa: F403  # exactly its __all__

__all__ = linalg.__all__  # a list

if not TYPE_CHECKING:  # type checkers should go on refusing unknown names
    __getattr__, __dir__ = answers("linalg", __all__)
