"""Initial values: each function fills a cell in place and returns it. PyTorch's names and formulas.

Numbers come from the default generator (`pellucid.manual_seed`) unless another one is given.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from pellucid.core.errors import ArgumentError, ShapeError, did_you_mean
from pellucid.tensor.random import Generator, default_generator
from pellucid.tensor.tensor import Buffer, Tensor

Mode = Literal["fan_in", "fan_out"]
_GAINS = {
    "linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75,
}  # fmt: skip


def constant_(cell: Buffer, value: float) -> Buffer:
    """Every element `value`."""
    cell.assign_(Tensor(np.full(cell.shape, value).astype(cell.dtype.numpy)))
    return cell


def zeros_(cell: Buffer) -> Buffer:
    """Zeros."""
    return constant_(cell, 0)


def ones_(cell: Buffer) -> Buffer:
    """Ones."""
    return constant_(cell, 1)


def uniform_(
    cell: Buffer, low: float = 0.0, high: float = 1.0, generator: Generator | None = None
) -> Buffer:
    """Uniform in `[low, high)`."""
    cell.assign_((generator or default_generator).uniform(cell.shape, low, high, cell.dtype))
    return cell


def normal_(
    cell: Buffer, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Buffer:
    """Normal with this mean and standard deviation."""
    cell.assign_((generator or default_generator).normal(cell.shape, mean, std, cell.dtype))
    return cell


def trunc_normal_(
    cell: Buffer,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Buffer:
    """Normal, drawn again where outside `[a, b]`.

    Raises:
        ArgumentError: `[a, b]` is empty, or so far from the mean that nothing would be found.
    """
    if not a < b or not std > 0 or mean + 4 * std < a or mean - 4 * std > b:
        operands: dict[str, object] = {"mean": mean, "std": std, "a": a, "b": b}
        rule = "[a, b] must be a range within 4 standard deviations of the mean"
        raise ArgumentError("trunc_normal_", rule, operands=operands)
    source = generator or default_generator
    values = source.normal(cell.shape, mean, std, cell.dtype).numpy().copy()
    while (outside := (values < a) | (values > b)).any():
        again = source.normal((int(outside.sum()),), mean, std, cell.dtype)
        values[outside] = again.numpy()
    cell.assign_(Tensor(values))
    return cell


def fans(cell: Buffer) -> tuple[int, int]:
    """Inputs that feed one output, and outputs that one input feeds: of `[out, in, *kernel]`.

    Raises:
        ShapeError: there are fewer than two axes.
    """
    if cell.ndim < 2:
        rule = "fans need two axes or more, [out, in, *kernel]"
        raise ShapeError("init", rule, operands={"cell": cell.shape})
    field = math.prod(cell.shape[2:])
    return cell.shape[1] * field, cell.shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity.

    Raises:
        ArgumentError: the nonlinearity is unknown.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        hint = did_you_mean(nonlinearity, [*_GAINS, "leaky_relu"])
        raise ArgumentError("calculate_gain", f"no gain for {nonlinearity!r}", fix=hint)
    return _GAINS[nonlinearity]


def xavier_uniform_(cell: Buffer, gain: float = 1.0, generator: Generator | None = None) -> Buffer:
    """Uniform with variance `gain² * 2 / (fan_in + fan_out)` (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(cell)))
    return uniform_(cell, -bound, bound, generator)


def xavier_normal_(cell: Buffer, gain: float = 1.0, generator: Generator | None = None) -> Buffer:
    """Normal with variance `gain² * 2 / (fan_in + fan_out)`."""
    return normal_(cell, 0.0, gain * math.sqrt(2 / sum(fans(cell))), generator)


def _kaiming_std(cell: Buffer, a: float, mode: Mode, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError("kaiming", "mode must be 'fan_in' or 'fan_out'", operands={"it": mode})
    fan_in, fan_out = fans(cell)
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    cell: Buffer,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Buffer:
    """Uniform with variance `gain² / fan` (He et al. 2015)."""
    bound = math.sqrt(3) * _kaiming_std(cell, a, mode, nonlinearity)
    return uniform_(cell, -bound, bound, generator)


def kaiming_normal_(
    cell: Buffer,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Buffer:
    """Normal with variance `gain² / fan` (He et al. 2015)."""
    return normal_(cell, 0.0, _kaiming_std(cell, a, mode, nonlinearity), generator)


def orthogonal_(cell: Buffer, gain: float = 1.0, generator: Generator | None = None) -> Buffer:
    """Rows (or columns, if fewer) of unit length at right angles, times `gain` (Saxe et al. 2013).

    Raises:
        ShapeError: there are fewer than two axes.
    """
    fans(cell)  # raises on fewer than two axes
    rows, columns = cell.shape[0], math.prod(cell.shape[1:])
    drawn = (generator or default_generator).normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn.numpy().astype(np.float64))
    q = q * np.sign(np.diag(r))  # makes the result uniform over all such matrices
    matrix = q if rows >= columns else q.T
    cell.assign_(Tensor((gain * matrix).reshape(cell.shape).astype(cell.dtype.numpy)))
    return cell


def fan_in_uniform_(fan_in: int, *cells: Buffer | None) -> None:
    """Uniform within `1 / sqrt(fan_in)`: PyTorch's default for weights and biases of layers."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    for cell in cells:
        if cell is not None:
            uniform_(cell, -bound, bound)
