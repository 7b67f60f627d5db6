"""The peers: where they are installed, and how each is told its number of threads.

Enters: names. Leaves: imported modules. A peer is imported only by a row that it takes part in.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pellucid as pl

# What else pins a library to another processor's kernels or another number of threads; left out,
# so that every peer is at its best.
_DROPPED = (
    "OPENBLAS_", "GOTO_", "MKL_", "OMP_", "GOMP_", "KMP_", "DNNL_", "ONEDNN_", "ATEN_CPU_",
    "XLA_FLAGS", "NPY_DISABLE_CPU", "TORCHINDUCTOR_", "PELLUCID_DISABLE_PASSES", "NPROC",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is compared with.

    Attributes:
        name: as in tables.
        modules: what must be importable.
        install: what `pip install` has to be given.
    """

    name: str
    modules: tuple[str, ...]
    install: str

    def missing(self) -> str:
        """Why it cannot take part; empty if it can."""
        if not all(map(_importable, self.modules)):
            return f"not installed (pip install {self.install})"
        if self.name in ("torch.compile", "torch autotuned") and not _compiler():
            return "needs a C++ compiler, and none was found"
        return ""

    def version(self) -> str:
        """Its version; empty where it has none."""
        try:
            return metadata.version(self.install.split()[0])
        except metadata.PackageNotFoundError:
            return ""


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("numpy", ("numpy",), "numpy"),
        Peer("torch", ("torch",), "torch"),
        Peer("torch.compile", ("torch",), "torch"),
        Peer("torch autotuned", ("torch",), "torch"),
        Peer("jax", ("jax",), "jax"),
        Peer("onnxruntime", ("onnxruntime", "onnx"), "onnxruntime onnx"),
        Peer("openvino", ("openvino", "onnx"), "openvino onnx"),
        Peer("iree", ("iree.compiler", "iree.runtime"), "iree-base-compiler iree-base-runtime"),
    )
}


def environment(threads: int, given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment of a process in which every library uses `threads` threads, and the names of
    variables that were left out of the given one.
    """
    dropped = sorted(name for name in given if name.startswith(_DROPPED))
    env = {name: value for name, value in given.items() if name not in dropped}
    counted = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
    env |= dict.fromkeys((*counted, "PELLUCID_THREADS"), str(threads))
    return env, dropped


@functools.cache
def load(module: str) -> Any:
    """A peer's module, with the process's number of threads set where it asks for that."""
    loaded = importlib.import_module(module)
    if module == "torch":
        loaded.set_num_threads(pl.get_num_threads())
    if module == "iree.runtime":
        loaded.flags.parse_flags(f"--task_topology_group_count={pl.get_num_threads()}")
    return loaded


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of the package it is in
        return False


def _compiler() -> bool:
    named = os.environ.get("CXX", "")
    return any(shutil.which(name) for name in (named, "g++", "clang++", "c++") if name)
