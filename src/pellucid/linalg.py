"""`pellucid.linalg`: see `tensor/linalg.py`."""

from __future__ import annotations

from pellucid.tensor import linalg
from pellucid.tensor.linalg import *  # noqa: F403  # exactly its __all__

__all__ = linalg.__all__  # a list
