"""`pellucid.fft`: see `tensor/fft.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.tensor import fft as _fft
from pellucid.tensor.fft import *  # noqa: F403  # exactly its __all__
from pellucid.tensor.hints import answers

__all__ = _fft.__all__  # a list

if not TYPE_CHECKING:  # type checkers should go on refusing unknown names
    __getattr__, __dir__ = answers("fft", __all__)
