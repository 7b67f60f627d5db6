"""Functions that NumPy's and PyTorch's users look for and the array API standard does not have.

Names and meanings are NumPy's, special functions' PyTorch's. NumPy arrays are taken as tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core.dtype import int64
from pellucid.core.errors import ArgumentError, DTypeError, TraceError
from pellucid.core.source import user_line
from pellucid.tensor.control import while_loop
from pellucid.tensor.functions import abs, any, asarray, lift, lift_creation, where, zeros
from pellucid.tensor.tensor import Tensor


def bincount(x: Any, weights: Any = None, minlength: int = 0, length: int | None = None) -> Tensor:
    """How often each integer comes in `x`, or the sum of its weights.

    Args:
        x: integers from 0 on, of any shape.
        weights: what each counts; 1 by default.
        minlength: the least number of results.
        length: exactly so many results, needed in a recorded function; integers from there on are
            not counted. By default one more than the greatest integer.

    Raises:
        ArgumentError: an integer is negative.
        TraceError: `length` is not given while recording.
    """
    values = asarray(x)
    if length is None:
        array = _contents("bincount", values)
        if array.size and array.min() < 0:
            operands: dict[str, object] = {"least": int(array.min())}
            raise ArgumentError("bincount", "counts integers from 0 on", operands=operands)
        length = max(minlength, int(array.max()) + 1 if array.size else 0)
        if length == 0:
            return zeros((0,), int64 if weights is None else asarray(weights).dtype)
    return _bincount(values, weights, length)


def _contents(op: str, x: Tensor) -> np.ndarray[Any, Any]:
    try:
        return x.numpy()
    except TraceError as error:
        rule = "the length of the result depends on the data, which a traced tensor does not have"
        fix = f"say it: {op}(x, length=n)"
        source = user_line()
        raise TraceError(op, rule, operands={"x": x.type}, fix=fix, source=source) from error


_bincount = lift(ops.bincount)


def gcd(x: Any, y: Any) -> Tensor:
    """The greatest common divisor of integers, by Euclid's algorithm: never negative, 0 of zeros.

    Raises:
        DTypeError: an operand is no integer.
    """
    return _common_divisor("gcd", x, y)[0]


def lcm(x: Any, y: Any) -> Tensor:
    """The least common multiple of integers; 0 where one is 0.

    Raises:
        DTypeError: an operand is no integer.
    """
    divisor, a, b = _common_divisor("lcm", x, y)
    zero = divisor == 0
    return abs(a // where(zero, 1, divisor) * b)


def _common_divisor(op: str, x: Any, y: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The divisor, and both operands in one dtype and shape."""
    for given in (x, y):
        dtype = asarray(given).dtype
        if not dtype.is_integer:
            fix = "cast with .astype('int64')"
            raise DTypeError(op, "takes integers", operands={"it": dtype}, fix=fix)
    a = x + y * 0 if isinstance(x, Tensor) else y * 0 + x
    b = a * 0 + y

    def step(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        high, low = pair
        done = low == 0
        return where(done, high, low), where(done, 0, high % where(done, 1, low))

    divisor, _ = while_loop(lambda pair: any(pair[1] != 0), step, (abs(a), abs(b)))
    return abs(divisor), a, b  # the least integer is its own absolute value, and gives its sign on


def tril_indices(rows: int, k: int = 0, columns: int | None = None) -> tuple[Tensor, Tensor]:
    """Row and column of each place on and below the `k`-th diagonal of `[rows, columns]`."""
    row, column = np.tril_indices(rows, k, columns)
    return Tensor(row), Tensor(column)


def triu_indices(rows: int, k: int = 0, columns: int | None = None) -> tuple[Tensor, Tensor]:
    """Row and column of each place on and above the `k`-th diagonal of `[rows, columns]`."""
    row, column = np.triu_indices(rows, k, columns)
    return Tensor(row), Tensor(column)


allclose = lift(ops.allclose)
append = lift(ops.append)
array_equal = lift(ops.array_equal)
array_split = lift(ops.array_split)
atleast_1d = lift(ops.atleast_1d)
atleast_2d = lift(ops.atleast_2d)
atleast_3d = lift(ops.atleast_3d)
average = lift(ops.average)
cbrt = lift(ops.cbrt)
column_stack = lift(ops.column_stack)
convolve = lift(ops.convolve)
corrcoef = lift(ops.corrcoef)
correlate = lift(ops.correlate)
cov = lift(ops.cov)
deg2rad = lift(ops.deg2rad)
delete = lift(ops.delete)
diag = lift(ops.diag)
diagflat = lift(ops.diagflat)
digamma = lift(ops.digamma)
digitize = lift(ops.digitize)
dot = lift(ops.dot)
dsplit = lift(ops.dsplit)
dstack = lift(ops.dstack)
ediff1d = lift(ops.ediff1d)
entr = lift(ops.entr)
erfc = lift(ops.erfc)
erfcx = lift(ops.erfcx)
erfinv = lift(ops.erfinv)
fliplr = lift(ops.fliplr)
flipud = lift(ops.flipud)
float_power = lift(ops.float_power)
fmax = lift(ops.fmax)
fmin = lift(ops.fmin)
fmod = lift(ops.fmod)
geomspace = lift_creation(ops.geomspace)
gradient = lift(ops.gradient)
heaviside = lift(ops.heaviside)
histogram = lift(ops.histogram)
hsplit = lift(ops.hsplit)
hstack = lift(ops.hstack)
identity = lift_creation(ops.identity)
indices = lift_creation(ops.indices)
inner = lift(ops.inner)
interp = lift(ops.interp)
isclose = lift(ops.isclose)
isneginf = lift(ops.isneginf)
isposinf = lift(ops.isposinf)
kron = lift(ops.kron)
lgamma = lift(ops.lgamma)
log_ndtr = lift(ops.log_ndtr)
logaddexp2 = lift(ops.logaddexp2)
logit = lift(ops.logit)
logspace = lift_creation(ops.logspace)
median = lift(ops.median)
nan_to_num = lift(ops.nan_to_num)
nanargmax = lift(ops.nanargmax)
nanargmin = lift(ops.nanargmin)
nancumprod = lift(ops.nancumprod)
nancumsum = lift(ops.nancumsum)
nanmax = lift(ops.nanmax)
nanmean = lift(ops.nanmean)
nanmedian = lift(ops.nanmedian)
nanmin = lift(ops.nanmin)
nanpercentile = lift(ops.nanpercentile)
nanprod = lift(ops.nanprod)
nanquantile = lift(ops.nanquantile)
nanstd = lift(ops.nanstd)
nansum = lift(ops.nansum)
nanvar = lift(ops.nanvar)
ndtr = lift(ops.ndtr)
percentile = lift(ops.percentile)
polyval = lift(ops.polyval)
ptp = lift(ops.ptp)
quantile = lift(ops.quantile)
rad2deg = lift(ops.rad2deg)
ravel = lift(ops.ravel)
ravel_multi_index = lift(ops.ravel_multi_index)
rot90 = lift(ops.rot90)
select = lift(ops.select)
sinc = lift(ops.sinc)
trapezoid = lift(ops.trapezoid)
tri = lift_creation(ops.tri)
unravel_index = lift(ops.unravel_index)
unwrap = lift(ops.unwrap)
vander = lift(ops.vander)
vdot = lift(ops.vdot)
vsplit = lift(ops.vsplit)
vstack = lift(ops.vstack)
xlog1py = lift(ops.xlog1py)

__all__ = [
    "allclose",
    "append",
    "array_equal",
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "average",
    "bincount",
    "cbrt",
    "column_stack",
    "convolve",
    "corrcoef",
    "correlate",
    "cov",
    "deg2rad",
    "delete",
    "diag",
    "diagflat",
    "digamma",
    "digitize",
    "dot",
    "dsplit",
    "dstack",
    "ediff1d",
    "entr",
    "erfc",
    "erfcx",
    "erfinv",
    "fliplr",
    "flipud",
    "float_power",
    "fmax",
    "fmin",
    "fmod",
    "gcd",
    "geomspace",
    "gradient",
    "heaviside",
    "histogram",
    "hsplit",
    "hstack",
    "identity",
    "indices",
    "inner",
    "interp",
    "isclose",
    "isneginf",
    "isposinf",
    "kron",
    "lcm",
    "lgamma",
    "log_ndtr",
    "logaddexp2",
    "logit",
    "logspace",
    "median",
    "nan_to_num",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
    "ndtr",
    "percentile",
    "polyval",
    "ptp",
    "quantile",
    "rad2deg",
    "ravel",
    "ravel_multi_index",
    "rot90",
    "select",
    "sinc",
    "trapezoid",
    "tri",
    "tril_indices",
    "triu_indices",
    "unravel_index",
    "unwrap",
    "vander",
    "vdot",
    "vsplit",
    "vstack",
    "xlog1py",
]
