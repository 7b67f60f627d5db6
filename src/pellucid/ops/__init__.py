"""Every operator as a function of graph values: what `Tensor` and autodiff are written with.

The records behind them are in `catalogue.CATALOGUE`. Functions broadcast, promote and accept Python
scalars; records do not.
"""

from __future__ import annotations

from pellucid.ops.arithmetic import add, divide, multiply, negative, reciprocal, square, subtract
from pellucid.ops.binary import atan2, clip, copysign, floor_divide, hypot, logaddexp, maximum, minimum, pow, remainder, signbit
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype, bitcast
from pellucid.ops.comparison import bitwise_and, bitwise_invert, bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor, equal, greater, greater_equal, isfinite, isinf, isnan, less, less_equal, logical_and, logical_not, logical_or, logical_xor, not_equal, where
from pellucid.ops.contraction import dot_general, matmul, outer, tensordot, vecdot
from pellucid.ops.create import constant, full, full_like, iota, ones, ones_like, scalar, zeros, zeros_like
from pellucid.ops.getitem import getitem, index_add, index_set, make_plan
from pellucid.ops.identity import barrier, stop_gradient
from pellucid.ops.index import gather, scatter_add, scatter_set
from pellucid.ops.join import concatenate, repeat, roll, stack, tile, tril, triu, unstack
from pellucid.ops.layout import expand_dims, matrix_transpose, moveaxis, reshape, squeeze, swapaxes, transpose
from pellucid.ops.movement import flip, pad, slice_, split
from pellucid.ops.ranges import arange, eye, linspace
from pellucid.ops.reduction import all, any, argmax, argmin, count_nonzero, max, mean, min, prod, std, sum, var
from pellucid.ops.scan import cumprod, cumsum, cumulative_prod, cumulative_sum, linear_recurrence, products_of_others
from pellucid.ops.take import embedding, one_hot, take, take_along_axis, wrapped_indices
from pellucid.ops.unary import abs, acos, acosh, asin, asinh, atan, atanh, ceil, cos, cosh, erf, exp, exp2, expm1, floor, log, log10, log1p, log2, round, rsqrt, sign, sin, sinh, sqrt, tan, tanh, trunc

__all__ = ["abs", "acos", "acosh", "add", "all", "any", "arange", "argmax", "argmin", "asin", "asinh", "astype", "atan", "atan2", "atanh", "barrier", "bitcast", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "broadcast_to", "ceil", "clip", "concatenate", "constant", "copysign", "cos", "cosh", "count_nonzero", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "divide", "dot_general", "embedding", "equal", "erf", "exp", "exp2", "expand_dims", "expm1", "eye", "flip", "floor", "floor_divide", "full", "full_like", "gather", "getitem", "greater", "greater_equal", "hypot", "index_add", "index_set", "iota", "isfinite", "isinf", "isnan", "less", "less_equal", "linear_recurrence", "linspace", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "make_plan", "matmul", "matrix_transpose", "max", "maximum", "mean", "min", "minimum", "moveaxis", "multiply", "negative", "not_equal", "one_hot", "ones", "ones_like", "outer", "pad", "pow", "prod", "products_of_others", "reciprocal", "remainder", "repeat", "reshape", "roll", "round", "rsqrt", "scalar", "scatter_add", "scatter_set", "sign", "signbit", "sin", "sinh", "slice_", "split", "sqrt", "square", "squeeze", "stack", "std", "stop_gradient", "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "transpose", "tril", "triu", "trunc", "unstack", "var", "vecdot", "where", "wrapped_indices", "zeros", "zeros_like",]
