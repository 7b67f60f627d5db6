"""The functions of the public API: every ops function, on tensors.

Names are the array API standard's, then NumPy's, then PyTorch's. NumPy arrays are taken as tensors.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core.dtype import DTypeLike, float32
from pellucid.tensor.box import as_array
from pellucid.tensor.dispatch import apply, elementwise
from pellucid.tensor.indexing import check_indices
from pellucid.tensor.tensor import Tensor, check_device, create, full

Function = Callable[..., Any]


def asarray(data: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """A tensor as it is, if it has this dtype; anything else as a new tensor.

    Raises:
        DTypeError: the data's type has no Pellucid twin.
        DeviceError: `device` is not "cpu".
    """
    check_device("asarray", device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    return Tensor(data, dtype)


def from_dlpack(x: Any) -> Tensor:
    """A tensor that shares the memory of another library's CPU array, without a copy where that is
    C-contiguous.

    Raises:
        TypeError: `x` is no DLPack array, or is not in CPU memory.
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack: takes an array that speaks DLPack, got {type(x).__name__}")
    return Tensor.plain(as_array(np.from_dlpack(x), None))


def _tensor(arg: Any) -> Any:
    if isinstance(arg, (np.ndarray, np.generic)):
        return Tensor(arg)
    if isinstance(arg, (list, tuple)) and builtins.any(isinstance(a, np.ndarray) for a in arg):
        return type(arg)(_tensor(a) for a in arg)
    return arg


def _lift(fn: Function) -> Function:
    """`fn` on tensors; Python scalars are part of the program."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return apply(fn, *map(_tensor, args), **{k: _tensor(v) for k, v in kwargs.items()})

    return call


def _lift_elementwise(fn: Function) -> Function:
    """`fn` on tensors; Python scalars are data, so that all of them share one program."""

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        return elementwise(fn, *map(_tensor, args))

    return call


def _lift_reading(fn: Function, default: int | None) -> Function:
    """`fn(x, indices, axis)`, where an index outside the axis is an error."""

    @functools.wraps(fn)
    def call(x: Any, indices: Any, axis: int | None = default) -> Any:
        x, indices = _tensor(x), _tensor(indices)
        check_indices(fn.__name__, indices, x.shape, axis)
        return apply(fn, x, indices, axis)

    return call


def _lift_creation(fn: Function) -> Function:
    """`fn`, which takes no tensor."""

    @functools.wraps(fn)
    def call(*args: Any, device: str | None = None, **kwargs: Any) -> Tensor:
        check_device(fn.__name__, device)
        return create(fn, *args, **kwargs)

    return call


def zeros(shape: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros of `shape`, float32 by default."""
    return full(shape, 0, dtype or float32, device)


def ones(shape: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones of `shape`, float32 by default."""
    return full(shape, 1, dtype or float32, device)


abs = _lift(ops.abs)
acos = _lift(ops.acos)
acosh = _lift(ops.acosh)
add = _lift_elementwise(ops.add)
all = _lift(ops.all)
any = _lift(ops.any)
arange = _lift_creation(ops.arange)
argmax = _lift(ops.argmax)
argmin = _lift(ops.argmin)
argsort = _lift(ops.argsort)
asin = _lift(ops.asin)
asinh = _lift(ops.asinh)
astype = _lift(ops.astype)
atan = _lift(ops.atan)
atan2 = _lift_elementwise(ops.atan2)
atanh = _lift(ops.atanh)
bitcast = _lift(ops.bitcast)
bitwise_and = _lift_elementwise(ops.bitwise_and)
bitwise_invert = _lift(ops.bitwise_invert)
bitwise_left_shift = _lift_elementwise(ops.bitwise_left_shift)
bitwise_or = _lift_elementwise(ops.bitwise_or)
bitwise_right_shift = _lift_elementwise(ops.bitwise_right_shift)
bitwise_xor = _lift_elementwise(ops.bitwise_xor)
broadcast_to = _lift(ops.broadcast_to)
ceil = _lift(ops.ceil)
clip = _lift(ops.clip)
concatenate = _lift(ops.concatenate)
concat = concatenate
copysign = _lift_elementwise(ops.copysign)
cos = _lift(ops.cos)
cosh = _lift(ops.cosh)
count_nonzero = _lift(ops.count_nonzero)
cumprod = _lift(ops.cumprod)
cumsum = _lift(ops.cumsum)
cumulative_prod = _lift(ops.cumulative_prod)
cumulative_sum = _lift(ops.cumulative_sum)
diagonal = _lift(ops.diagonal)
divide = _lift_elementwise(ops.divide)
einsum = _lift(ops.einsum)
equal = _lift_elementwise(ops.equal)
erf = _lift(ops.erf)
exp = _lift(ops.exp)
exp2 = _lift(ops.exp2)
expand_dims = _lift(ops.expand_dims)
expm1 = _lift(ops.expm1)
eye = _lift_creation(ops.eye)
flip = _lift(ops.flip)
floor = _lift(ops.floor)
floor_divide = _lift_elementwise(ops.floor_divide)
full_like = _lift(ops.full_like)
gather = _lift(ops.gather)
greater = _lift_elementwise(ops.greater)
greater_equal = _lift_elementwise(ops.greater_equal)
hypot = _lift_elementwise(ops.hypot)
isfinite = _lift(ops.isfinite)
isinf = _lift(ops.isinf)
isnan = _lift(ops.isnan)
less = _lift_elementwise(ops.less)
less_equal = _lift_elementwise(ops.less_equal)
linspace = _lift_creation(ops.linspace)
log = _lift(ops.log)
log1p = _lift(ops.log1p)
log2 = _lift(ops.log2)
log10 = _lift(ops.log10)
log_softmax = _lift(ops.log_softmax)
logaddexp = _lift_elementwise(ops.logaddexp)
logical_and = _lift_elementwise(ops.logical_and)
logical_not = _lift(ops.logical_not)
logical_or = _lift_elementwise(ops.logical_or)
logical_xor = _lift_elementwise(ops.logical_xor)
logsumexp = _lift(ops.logsumexp)
matmul = _lift(ops.matmul)
matrix_transpose = _lift(ops.matrix_transpose)
max = _lift(ops.max)
maximum = _lift_elementwise(ops.maximum)
mean = _lift(ops.mean)
min = _lift(ops.min)
minimum = _lift_elementwise(ops.minimum)
moveaxis = _lift(ops.moveaxis)
multiply = _lift_elementwise(ops.multiply)
negative = _lift(ops.negative)
not_equal = _lift_elementwise(ops.not_equal)
one_hot = _lift(ops.one_hot)
ones_like = _lift(ops.ones_like)
outer = _lift(ops.outer)
pad = _lift(ops.pad)
permute_dims = _lift(ops.permute_dims)
pow = _lift(ops.pow)
prod = _lift(ops.prod)
reciprocal = _lift(ops.reciprocal)
relu = _lift(ops.relu)
remainder = _lift_elementwise(ops.remainder)
repeat = _lift(ops.repeat)
reshape = _lift(ops.reshape)
roll = _lift(ops.roll)
round = _lift(ops.round)
rsqrt = _lift(ops.rsqrt)
scatter_add = _lift(ops.scatter_add)
scatter_set = _lift(ops.scatter_set)
sigmoid = _lift(ops.sigmoid)
sign = _lift(ops.sign)
signbit = _lift(ops.signbit)
sin = _lift(ops.sin)
sinh = _lift(ops.sinh)
softmax = _lift(ops.softmax)
sort = _lift(ops.sort)
split = _lift(ops.split)
sqrt = _lift(ops.sqrt)
square = _lift(ops.square)
squeeze = _lift(ops.squeeze)
stack = _lift(ops.stack)
std = _lift(ops.std)
stop_gradient = _lift(ops.stop_gradient)
subtract = _lift_elementwise(ops.subtract)
sum = _lift(ops.sum)
swapaxes = _lift(ops.swapaxes)
take = _lift_reading(ops.take, None)
take_along_axis = _lift_reading(ops.take_along_axis, -1)
tan = _lift(ops.tan)
tanh = _lift(ops.tanh)
tensordot = _lift(ops.tensordot)
tile = _lift(ops.tile)
top_k = _lift(ops.top_k)
trace = _lift(ops.trace)
transpose = _lift(ops.transpose)
tril = _lift(ops.tril)
triu = _lift(ops.triu)
trunc = _lift(ops.trunc)
unstack = _lift(ops.unstack)
var = _lift(ops.var)
vecdot = _lift(ops.vecdot)
where = _lift(ops.where)
xlogy = _lift_elementwise(ops.xlogy)
zeros_like = _lift(ops.zeros_like)

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asarray",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "bitcast",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "broadcast_to",
    "ceil",
    "clip",
    "concat",
    "concatenate",
    "copysign",
    "cos",
    "cosh",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diagonal",
    "divide",
    "einsum",
    "equal",
    "erf",
    "exp",
    "exp2",
    "expand_dims",
    "expm1",
    "eye",
    "flip",
    "floor",
    "floor_divide",
    "from_dlpack",
    "full",
    "full_like",
    "gather",
    "greater",
    "greater_equal",
    "hypot",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "matmul",
    "matrix_transpose",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moveaxis",
    "multiply",
    "negative",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "pad",
    "permute_dims",
    "pow",
    "prod",
    "reciprocal",
    "relu",
    "remainder",
    "repeat",
    "reshape",
    "roll",
    "round",
    "rsqrt",
    "scatter_add",
    "scatter_set",
    "sigmoid",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "softmax",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop_gradient",
    "subtract",
    "sum",
    "swapaxes",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensordot",
    "tile",
    "top_k",
    "trace",
    "transpose",
    "tril",
    "triu",
    "trunc",
    "unstack",
    "var",
    "vecdot",
    "where",
    "xlogy",
    "zeros",
    "zeros_like",
]
