"""The peer frameworks, where they are installed; what is missing is said and left out."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from typing import Any

NO_TORCH = "PyTorch is not installed, so nothing is compared: pip install -e '.[bench]'"
NO_LIMITS = "NumPy's threads cannot be set, so it is left out: pip install -e '.[bench]'"
NO_COMPILER = "torch.compile needs a C++ compiler and none was found; it is left out."


def torch_or_none(threads: int) -> Any:
    """PyTorch with its thread count set, or None with a message where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        print(NO_TORCH)
        return None
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    return torch


def limit_blas(threads: int) -> bool:
    """Give NumPy's BLAS its thread count; False, with a message, where that cannot be done."""
    if importlib.util.find_spec("threadpoolctl") is None:
        print(NO_LIMITS)
        return False
    importlib.import_module("threadpoolctl").threadpool_limits(threads, user_api="blas")
    return True


def can_compile() -> bool:
    """Whether `torch.compile` has the C++ compiler it needs; a message where it has not."""
    found = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    if not found:
        print(NO_COMPILER)
    return found
