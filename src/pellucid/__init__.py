"""Pellucid: a complete machine-learning system in Python, clear all the way down.

Tensors, their functions, gradients and `jit` here; `nn`, `optim` and `data` beside them.
"""

from __future__ import annotations

from math import e, inf, nan, pi
from typing import TYPE_CHECKING, Any

from pellucid.core.meanwhile import NO_COLLECTION, grow_old

with NO_COLLECTION:  # nothing that modules make is garbage, and there is much to look through
    from pellucid import array_api, data, extend, fft, linalg, nn, optim, tree

    grow_old()

from pellucid.core.dtype import (
    DType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from pellucid.core.errors import PellucidError
from pellucid.core.size_input import dim
from pellucid.core.version import VERSION as __version__
from pellucid.nn.checkpoint import load_tensors as load
from pellucid.nn.checkpoint import save_tensors as save
from pellucid.nn.freeze import freeze
from pellucid.runtime.pool import get_num_threads, set_num_threads
from pellucid.tensor import functions, numpy_like
from pellucid.tensor.control import cond, fori_loop, map, scan, switch, while_loop
from pellucid.tensor.convert.function import ConvertedFunction, convert
from pellucid.tensor.custom_op import CustomOp, custom_op
from pellucid.tensor.frozen import FrozenFunction
from pellucid.tensor.function_class import Function
from pellucid.tensor.functions import *  # noqa: F403  # exactly its __all__
from pellucid.tensor.hints import functions_of, missing_name
from pellucid.tensor.infer import infer_shapes
from pellucid.tensor.jit import JitFunction, jit
from pellucid.tensor.late_import import follow
from pellucid.tensor.lowered import Lowered
from pellucid.tensor.numpy_like import *  # noqa: F403  # exactly its __all__
from pellucid.tensor.random import (
    Generator,
    default_generator,
    manual_seed,
    rand,
    randint,
    randn,
    randperm,
)
from pellucid.tensor.tensor import (
    Buffer,
    Parameter,
    Tensor,
    enable_grad,
    is_grad_enabled,
    no_grad,
)
from pellucid.tensor.transforms import (
    all_gather,
    axis_index,
    axis_size,
    checkpoint,
    checkpoint_name,
    checkpoint_sequential,
    custom_jvp,
    custom_vjp,
    grad,
    hessian,
    hvp,
    is_tracing,
    jacfwd,
    jacrev,
    jvp,
    keep_names,
    linear_transpose,
    linearize,
    pmax,
    pmean,
    pmin,
    psum,
    value_and_grad,
    vhp,
    vjp,
    vmap,
)
from pellucid.tensor.tree_register import (
    register_dataclass,
    register_pytree_node,
    register_pytree_node_class,
)

__all__ = [
    "Buffer",
    "ConvertedFunction",
    "CustomOp",
    "DType",
    "FrozenFunction",
    "Function",
    "Generator",
    "JitFunction",
    "Lowered",
    "Parameter",
    "PellucidError",
    "Tensor",
    "__version__",
    "all_gather",
    "array_api",
    "axis_index",
    "axis_size",
    "bfloat16",
    "bool_",
    "checkpoint",
    "checkpoint_name",
    "checkpoint_sequential",
    "complex64",
    "complex128",
    "cond",
    "convert",
    "custom_jvp",
    "custom_op",
    "custom_vjp",
    "data",
    "default_generator",
    "dim",
    "e",
    "enable_grad",
    "extend",
    "fft",
    "float8_e4m3fn",
    "float8_e5m2",
    "float16",
    "float32",
    "float64",
    "fori_loop",
    "freeze",
    "get_num_threads",
    "grad",
    "hessian",
    "hvp",
    "inf",
    "infer_shapes",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "is_tracing",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "keep_names",
    "linalg",
    "linear_transpose",
    "linearize",
    "load",
    "manual_seed",
    "map",
    "nan",
    "newaxis",
    "nn",
    "no_grad",
    "optim",
    "pi",
    "pmax",
    "pmean",
    "pmin",
    "psum",
    "rand",
    "randint",
    "randn",
    "randperm",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "save",
    "scan",
    "set_num_threads",
    "switch",
    "tree",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "value_and_grad",
    "vhp",
    "vjp",
    "vmap",
    "while_loop",
]
__all__ += functions.__all__
__all__ += numpy_like.__all__

newaxis = None  # x[newaxis] has an axis of one element in front, as NumPy's

follow("einops._backends", "pellucid.tensor.einops_backend")

_ELSEWHERE = {  # where to look for a name that is not here
    "pellucid.nn.functional.{}": functions_of(nn.functional),
    "pellucid.linalg.{}": linalg.__all__,
    "pellucid.fft.{}": fft.__all__,
    "pellucid.nn.{}": nn.__all__,
    "pellucid.optim.{}": optim.__all__,
    "x.{}": [name for name in dir(Tensor) if not name.startswith("_")],
}


def __dir__() -> list[str]:  # what is for users, not what this file needs
    return sorted(__all__)


if not TYPE_CHECKING:  # type checkers should go on refusing unknown names

    def __getattr__(name: str) -> Any:
        hint = missing_name(name, __all__, _ELSEWHERE)
        raise AttributeError(hint, name=name)
