"""The functions of the public API: every ops function, on tensors.

Names are the array API standard's, then NumPy's, then PyTorch's. NumPy arrays are taken as tensors.
"""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core.dtype import DTypeLike, as_dtype
from pellucid.tensor.creation import (
    asarray,
    empty,
    empty_like,
    from_dlpack,
    full_like,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from pellucid.tensor.data_types import (
    broadcast_shapes,
    can_cast,
    finfo,
    iinfo,
    isdtype,
    result_type,
)
from pellucid.tensor.dispatch import apply, elementwise
from pellucid.tensor.indexing import check_indices
from pellucid.tensor.selection import (
    nonzero,
    repeat,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from pellucid.tensor.tensor import Tensor, check_device, create, full

Function = Callable[..., Any]


def _tensor(arg: Any) -> Any:
    if isinstance(arg, (np.ndarray, np.generic)):
        return Tensor(arg)
    if isinstance(arg, (list, tuple)) and builtins.any(isinstance(a, np.ndarray) for a in arg):
        return type(arg)(_tensor(a) for a in arg)
    return arg


def lift(fn: Function) -> Function:
    """`fn` on tensors; Python scalars are part of the program."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return apply(fn, *map(_tensor, args), **{k: _tensor(v) for k, v in kwargs.items()})

    return call


def lift_elementwise(fn: Function) -> Function:
    """`fn` on tensors; Python scalars are data, so that all of them share one program."""

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        return elementwise(fn, *map(_tensor, args))

    return call


def lift_reading(fn: Function, default: int | None) -> Function:
    """`fn(x, indices, axis)`, where an index outside the axis is an error."""

    @functools.wraps(fn)
    def call(x: Any, indices: Any, axis: int | None = default) -> Any:
        x, indices = _tensor(x), _tensor(indices)
        check_indices(fn.__name__, indices, x.shape, axis)
        return apply(fn, x, indices, axis)

    return call


def lift_creation(fn: Function) -> Function:
    """`fn`, which takes no tensor."""

    @functools.wraps(fn)
    def call(*args: Any, device: str | None = None, **kwargs: Any) -> Tensor:
        check_device(fn.__name__, device)
        return create(fn, *args, **kwargs)

    own = inspect.signature(fn)
    device = inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default=None)
    call.__signature__ = own.replace(parameters=[*own.parameters.values(), device])  # type: ignore[attr-defined]  # help() shows it
    return call


def astype(x: Any, dtype: DTypeLike, copy: bool = True, device: str | None = None) -> Tensor:
    """`x` converted to a dtype; floats to integers truncate and saturate, NaN becomes 0.

    Args:
        x: any tensor.
        dtype: the dtype wanted.
        copy: False gives `x` itself where it has that dtype.
        device: "cpu", or left out.

    Raises:
        DeviceError: `device` is not "cpu".
    """
    check_device("astype", device)
    x = _tensor(x)
    return x if not copy and x.dtype == as_dtype(dtype) else x.astype(dtype)


def reshape(x: Any, shape: int | Sequence[int], copy: bool | None = None) -> Tensor:
    """The same elements in row-major order under another shape; one size may be -1.

    Args:
        x: any tensor.
        shape: the new sizes.
        copy: nothing to choose: tensors never see each other's changes, so none is made.

    Raises:
        ShapeError: the sizes do not hold as many elements.
    """
    return apply(ops.reshape, _tensor(x), shape)


abs = lift(ops.abs)
acos = lift(ops.acos)
acosh = lift(ops.acosh)
add = lift_elementwise(ops.add)
all = lift(ops.all)
angle = lift(ops.angle)
any = lift(ops.any)
arange = lift_creation(ops.arange)
argmax = lift(ops.argmax)
argmin = lift(ops.argmin)
argsort = lift(ops.argsort)
asin = lift(ops.asin)
asinh = lift(ops.asinh)
atan = lift(ops.atan)
atan2 = lift_elementwise(ops.atan2)
atanh = lift(ops.atanh)
bitcast = lift(ops.bitcast)
bitwise_and = lift_elementwise(ops.bitwise_and)
bitwise_invert = lift(ops.bitwise_invert)
bitwise_left_shift = lift_elementwise(ops.bitwise_left_shift)
bitwise_or = lift_elementwise(ops.bitwise_or)
bitwise_right_shift = lift_elementwise(ops.bitwise_right_shift)
bitwise_xor = lift_elementwise(ops.bitwise_xor)
broadcast_arrays = lift(ops.broadcast_arrays)
broadcast_to = lift(ops.broadcast_to)
ceil = lift(ops.ceil)
clip = lift(ops.clip)
complex = lift_elementwise(ops.complex)
concat = concatenate = lift(ops.concatenate)
conj = lift(ops.conj)
copysign = lift_elementwise(ops.copysign)
cos = lift(ops.cos)
cosh = lift(ops.cosh)
count_nonzero = lift(ops.count_nonzero)
cummax = lift(ops.cummax)
cummin = lift(ops.cummin)
cumprod = lift(ops.cumprod)
cumsum = lift(ops.cumsum)
cumulative_prod = lift(ops.cumulative_prod)
cumulative_sum = lift(ops.cumulative_sum)
diagonal = lift(ops.diagonal)
diff = lift(ops.diff)
divide = lift_elementwise(ops.divide)
einsum = lift(ops.einsum)
equal = lift_elementwise(ops.equal)
erf = lift(ops.erf)
exp = lift(ops.exp)
exp2 = lift(ops.exp2)
expand_dims = lift(ops.expand_dims)
expm1 = lift(ops.expm1)
eye = lift_creation(ops.eye)
flip = lift(ops.flip)
floor = lift(ops.floor)
floor_divide = lift_elementwise(ops.floor_divide)
gather = lift(ops.gather)
greater = lift_elementwise(ops.greater)
greater_equal = lift_elementwise(ops.greater_equal)
hypot = lift_elementwise(ops.hypot)
imag = lift(ops.imag)
isfinite = lift(ops.isfinite)
isin = lift(ops.isin)
isinf = lift(ops.isinf)
isnan = lift(ops.isnan)
less = lift_elementwise(ops.less)
less_equal = lift_elementwise(ops.less_equal)
linspace = lift_creation(ops.linspace)
log = lift(ops.log)
log1p = lift(ops.log1p)
log2 = lift(ops.log2)
log10 = lift(ops.log10)
log_softmax = lift(ops.log_softmax)
logaddexp = lift_elementwise(ops.logaddexp)
logical_and = lift_elementwise(ops.logical_and)
logical_not = lift(ops.logical_not)
logical_or = lift_elementwise(ops.logical_or)
logical_xor = lift_elementwise(ops.logical_xor)
logsumexp = lift(ops.logsumexp)
matmul = lift(ops.matmul)
matrix_transpose = lift(ops.matrix_transpose)
max = lift(ops.max)
maximum = lift_elementwise(ops.maximum)
mean = lift(ops.mean)
meshgrid = lift(ops.meshgrid)
min = lift(ops.min)
minimum = lift_elementwise(ops.minimum)
moveaxis = lift(ops.moveaxis)
multiply = lift_elementwise(ops.multiply)
negative = lift(ops.negative)
nextafter = lift_elementwise(ops.nextafter)
not_equal = lift_elementwise(ops.not_equal)
one_hot = lift(ops.one_hot)
outer = lift(ops.outer)
pad = lift(ops.pad)
permute_dims = lift(ops.permute_dims)
positive = lift(ops.positive)
pow = lift(ops.pow)
prod = lift(ops.prod)
real = lift(ops.real)
reciprocal = lift(ops.reciprocal)
relu = lift(ops.relu)
remainder = lift_elementwise(ops.remainder)
roll = lift(ops.roll)
round = lift(ops.round)
rsqrt = lift(ops.rsqrt)
scatter_add = lift(ops.scatter_add)
scatter_set = lift(ops.scatter_set)
searchsorted = lift(ops.searchsorted)
sigmoid = lift(ops.sigmoid)
sign = lift(ops.sign)
signbit = lift(ops.signbit)
sin = lift(ops.sin)
sinh = lift(ops.sinh)
softmax = lift(ops.softmax)
sort = lift(ops.sort)
split = lift(ops.split)
sqrt = lift(ops.sqrt)
square = lift(ops.square)
squeeze = lift(ops.squeeze)
stack = lift(ops.stack)
std = lift(ops.std)
stop_gradient = lift(ops.stop_gradient)
subtract = lift_elementwise(ops.subtract)
sum = lift(ops.sum)
swapaxes = lift(ops.swapaxes)
take = lift_reading(ops.take, None)
take_along_axis = lift_reading(ops.take_along_axis, -1)
tan = lift(ops.tan)
tanh = lift(ops.tanh)
tensordot = lift(ops.tensordot)
tile = lift(ops.tile)
top_k = lift(ops.top_k)
trace = lift(ops.trace)
transpose = lift(ops.transpose)
tril = lift(ops.tril)
triu = lift(ops.triu)
trunc = lift(ops.trunc)
unstack = lift(ops.unstack)
var = lift(ops.var)
vecdot = lift(ops.vecdot)
view_as_complex = lift(ops.view_as_complex)
view_as_real = lift(ops.view_as_real)
where = lift(ops.where)
xlogy = lift_elementwise(ops.xlogy)

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "all",
    "angle",
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
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "can_cast",
    "ceil",
    "clip",
    "complex",
    "concat",
    "concatenate",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "count_nonzero",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diagonal",
    "diff",
    "divide",
    "einsum",
    "empty",
    "empty_like",
    "equal",
    "erf",
    "exp",
    "exp2",
    "expand_dims",
    "expm1",
    "eye",
    "finfo",
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
    "iinfo",
    "imag",
    "isdtype",
    "isfinite",
    "isin",
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
    "meshgrid",
    "min",
    "minimum",
    "moveaxis",
    "multiply",
    "negative",
    "nextafter",
    "nonzero",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "outer",
    "pad",
    "permute_dims",
    "positive",
    "pow",
    "prod",
    "real",
    "reciprocal",
    "relu",
    "remainder",
    "repeat",
    "reshape",
    "result_type",
    "roll",
    "round",
    "rsqrt",
    "scatter_add",
    "scatter_set",
    "searchsorted",
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
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unstack",
    "var",
    "vecdot",
    "view_as_complex",
    "view_as_real",
    "where",
    "xlogy",
    "zeros",
    "zeros_like",
]
