"""`pellucid.fft`: see `tensor/fft.py`."""

from __future__ import annotations

from pellucid.tensor import fft as _fft
from pellucid.tensor.fft import *  # noqa: F403  # exactly its __all__

__all__ = _fft.__all__  # a list
