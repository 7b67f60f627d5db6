"""What layers compute, as functions of tensors: the one place in `nn` that reaches for `ops`.

Names and arguments are PyTorch's; composites are written on graph values, so that eagerly one layer
is one program.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from pellucid import ops
from pellucid.core.dtype import DType, float64
from pellucid.core.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from pellucid.graph.ir import Value
from pellucid.ops.convolution import Padding
from pellucid.tensor.dispatch import apply
from pellucid.tensor.hints import answers, functions_of
from pellucid.tensor.random import Generator, default_generator
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.transforms import is_tracing

Size = int | Sequence[int]
Reduction = Literal["mean", "sum", "none"]


def call(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """Run or record a function of graph values that gives one tensor; arrays become tensors."""
    return cast("Tensor", apply(fn, *(_tensor(a) for a in args), **kwargs))


def _tensor(value: Any) -> Any:
    return Tensor(value) if isinstance(value, np.ndarray) else value


def _check_numbers(
    op: str, what: str, numbers: Any, least: int, end: int, skip: int | None = None
) -> None:
    """Refuse integers outside `[least, end)`, other than `skip`, where they can be looked at.

    Recorded programs cannot refuse; there, what depends on such a number is NaN.
    """
    if is_tracing() or not _tensor(numbers).dtype.is_integer:
        return
    values = np.asarray(numbers)
    outside = (values < least) | (values >= end)
    wrong = values[outside if skip is None else outside & (values != skip)]
    if wrong.size:
        operands: dict[str, object] = {"it": int(wrong[0])}
        raise IndexRangeError(op, f"{what} must be in [{least}, {end})", operands=operands)


def pair(size: Size) -> tuple[int, int]:
    """Two ints from one integer, of Python or NumPy, or two.

    Raises:
        ArgumentError: it is neither.
    """
    given = tuple(size) if isinstance(size, Sequence) else (size, size)
    try:
        first, second = map(operator.index, given)
    except (TypeError, ValueError):
        operands: dict[str, object] = {"it": repr(size)}
        raise ArgumentError("size", "must be one integer or two", operands=operands) from None
    return first, second


# ---------------------------------------------------------------------------------------- layers


def _linear(x: Value, weight: Value, bias: Value | None) -> Value:
    product = ops.matmul(x, ops.matrix_transpose(weight))
    return product if bias is None else ops.add(product, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`.

    Args:
        x: `[..., in]`.
        weight: `[out, in]`.
        bias: `[out]`.

    Returns:
        `[..., out]`.

    Raises:
        ShapeError: the inner sizes differ.
    """
    x = Tensor(x) if isinstance(x, (list, tuple)) else x
    if x.ndim == 0 or x.shape[-1] != weight.shape[-1]:
        width = weight.shape[-1]
        flat = x.ndim > 1 and math.prod(x.shape[1:]) == width
        raise ShapeError(
            "linear", f"takes a last axis of {width}",
            operands={"x": x.shape, "weight": weight.shape},
            fix="use x.flatten(1) first" if flat else "",
        )  # fmt: skip
    return call(_linear, x, weight, bias)


def embedding(indices: Tensor, weight: Tensor) -> Tensor:
    """Rows of `weight` `[rows, width]` by number: `[*indices.shape, width]`."""
    rows = weight.shape[0]
    _check_numbers("embedding", "indices", indices, -rows, rows)
    return call(ops.embedding, weight, indices)


def _conv2d(x: Value, weight: Value, bias: Value | None, **how: Any) -> Value:
    return _with_channel_bias(ops.conv2d(x, weight, **how), bias)


def _conv_transpose2d(x: Value, weight: Value, bias: Value | None, **how: Any) -> Value:
    return _with_channel_bias(ops.conv_transpose2d(x, weight, **how), bias)


def _with_channel_bias(y: Value, bias: Value | None) -> Value:
    return y if bias is None else ops.add(y, ops.reshape(bias, (bias.shape[0], 1, 1)))


def _same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[Any, ...]:
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((n // 2, n - n // 2) for n in total)


def conv2d(  # noqa: PLR0913, PLR0917  # PyTorch's parameters in PyTorch's order
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation of `[N, C, H, W]` with kernels `[O, C / groups, kh, kw]`.

    Args:
        x: images.
        weight: kernels.
        bias: `[O]`.
        stride: from one window to the next.
        padding: zeros around `x`, or `"valid"` (none), or `"same"` (keeps H and W; stride 1).
        dilation: from one tap to the next.
        groups: channels are cut into as many independent groups.

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: a parameter is out of range.
    """
    if isinstance(padding, str):
        if padding not in ("same", "valid") or (padding == "same" and pair(stride) != (1, 1)):
            rule = "padding must be numbers, 'valid', or 'same' with stride 1"
            raise ArgumentError("conv2d", rule, operands={"padding": padding, "stride": stride})
        kernel = (weight.shape[2], weight.shape[3])
        padding = _same_padding(kernel, pair(dilation)) if padding == "same" else 0
    how = {"stride": pair(stride), "dilation": pair(dilation), "groups": groups}
    return call(_conv2d, x, weight, bias, padding=frozen(padding), **how)


def frozen(size: Any) -> Any:
    """Sizes, nested as they are, as tuples of ints; a word stays one."""
    if isinstance(size, str):
        return size
    return tuple(map(frozen, size)) if isinstance(size, Sequence) else pair(size)[0]


def conv_transpose2d(  # noqa: PLR0913, PLR0917  # PyTorch's parameters in PyTorch's order
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The transpose of `conv2d`, with kernels `[C, O / groups, kh, kw]`."""
    how = {"stride": stride, "padding": padding, "output_padding": output_padding}
    sizes = {name: pair(size) for name, size in how.items()}
    return call(_conv_transpose2d, x, weight, bias, groups=groups, dilation=pair(dilation), **sizes)


def max_pool2d(
    x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1
) -> Tensor:
    """The maximum of each window of the last two axes; `stride` is the window by default."""
    step = pair(kernel_size if stride is None else stride)
    pads = pair(padding)
    return call(
        ops.max_pool2d, x, pair(kernel_size), stride=step, padding=pads, dilation=pair(dilation)
    )


def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of the last two axes; `stride` is the window by default."""
    step = pair(kernel_size if stride is None else stride)
    how = {"stride": step, "padding": pair(padding), "count_include_pad": count_include_pad}
    return call(ops.avg_pool2d, x, pair(kernel_size), **how)


def adaptive_avg_pool2d(x: Tensor, output_size: Size) -> Tensor:
    """The means of a grid of `output_size` bins over the last two axes, as equal as they can be.

    Bin `i` of `n` has the elements from `i * size // n` to `ceil((i + 1) * size / n)`.

    Raises:
        ShapeError: `x` is not `[..., H, W]`, or has no elements to average.
        ArgumentError: a number of bins is negative.
        DTypeError: `x` is not of a float dtype.
    """
    grid = pair(output_size)
    if min(grid) < 0:
        operands: dict[str, object] = {"output_size": grid}
        raise ArgumentError("adaptive_avg_pool2d", "sizes must be >= 0", operands=operands)
    if x.ndim < 2 or 0 in x.shape[-2:]:
        rule = "x must be [..., H, W] with H and W at least 1"
        raise ShapeError("adaptive_avg_pool2d", rule, operands={"x": x.shape})
    if not x.dtype.is_float:
        operands = {"x": x.type}
        raise DTypeError("adaptive_avg_pool2d", "takes floats", operands=operands)
    if grid == (1, 1):
        return x.mean(axis=(-2, -1), keepdims=True)
    if 0 not in grid and not any(n % k for n, k in zip(x.shape[-2:], grid, strict=True)):
        return avg_pool2d(x, (x.shape[-2] // grid[0], x.shape[-1] // grid[1]))
    return call(_adaptive_avg_pool2d, x, grid=grid)


def _adaptive_avg_pool2d(x: Value, grid: tuple[int, int]) -> Value:
    wide = ops.astype(x, "float32") if x.dtype.bits < 32 else x
    return ops.astype(_bin_means(_bin_means(wide, -2, grid[0]), -1, grid[1]), x.dtype)


def _bin_means(x: Value, axis: int, bins: int) -> Value:
    """Means of `bins` ranges of an axis, each from its own elements alone.

    All bins are read as wide as the widest; what a bin does not have counts as 0.
    """
    size = x.shape[axis]
    starts = np.arange(bins) * size // bins
    counts = -(-np.arange(1, bins + 1) * size // bins) - starts
    places = np.arange(counts.max(initial=0))
    taken = ops.take(x, np.minimum(starts[:, None] + places, size - 1), axis)
    trailing = (1,) * (-1 - axis)
    inside = (places < counts[:, None]).reshape(bins, len(places), *trailing)
    total = ops.sum(ops.where(ops.constant(inside), taken, 0), axis)
    divisor = counts.astype(x.dtype.numpy).reshape(bins, *trailing)
    return ops.divide(total, ops.constant(divisor))


def dropout(
    x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None
) -> Tensor:
    """`x` with each element zeroed with probability `p`, the others divided by `1 - p`.

    Raises:
        ArgumentError: `p` is outside `[0, 1]`.
    """
    if not 0.0 <= p <= 1.0:
        raise ArgumentError("dropout", "p must be in [0, 1]", operands={"p": p})
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    kept = (generator or default_generator).bernoulli(x.shape, 1.0 - p)
    return call(_drop, x, kept, scale=1.0 / (1.0 - p))


def _drop(x: Value, kept: Value, scale: float) -> Value:
    return ops.where(kept, ops.multiply(x, scale), 0)


# ---------------------------------------------------------------------------------------- norms


def layer_norm(
    x: Tensor,
    normalized_shape: Size,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axes, of `normalized_shape`.

    Raises:
        ShapeError: the last axes of `x` are others.
    """
    axes = _last_axes("layer_norm", x, normalized_shape)
    return call(ops.layer_norm, x, weight, bias, axis=axes, eps=eps)


def rms_norm(
    x: Tensor, normalized_shape: Size, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """`x / sqrt(mean(x²) + eps) * weight` over the last axes.

    By default `eps` is that of the dtype in which this is worked out: float64's for float64,
    float32's for float32 and all narrower floats.
    """
    axes = _last_axes("rms_norm", x, normalized_shape)
    worked_out_in = np.float64 if x.dtype == float64 else np.float32
    used = float(np.finfo(worked_out_in).eps) if eps is None else eps
    return call(ops.rms_norm, x, weight, axis=axes, eps=used)


def _last_axes(op: str, x: Tensor, shape: Size) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if x.shape[x.ndim - len(sizes) :] != sizes:
        operands = {"x": x.shape, "normalized_shape": sizes}
        raise ShapeError(op, "the last axes of x must be normalized_shape", operands=operands)
    return tuple(range(-len(sizes), 0))


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Each group of channels of `[N, C, ...]` normalised by itself."""
    return call(ops.group_norm, x, num_groups, weight, bias, eps=eps)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of `[N, C, ...]`, both `[C]`."""
    mean, var = apply(ops.batch_moments, x)
    return mean, var


def batch_norm(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """`[N, C, ...]` normalised per channel with these statistics, all `[C]`."""
    return call(ops.batch_norm, x, mean, var, weight, bias, eps=eps)


# ------------------------------------------------------------------------------------- attention


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`softmax(query @ key.mT * scale + mask)`, `[..., L, S]`: the weights attention uses; 0 where
    the mask hides all keys.
    """
    return call(ops.attention_weights, query, key, attn_mask, is_causal=is_causal, scale=scale)


def scaled_dot_product_attention(  # noqa: PLR0913, PLR0917  # PyTorch's parameters in PyTorch's order
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`softmax(query @ key.mT * scale + mask) @ value`.

    Args:
        query: `[..., L, E]`.
        key: `[..., S, E]`.
        value: `[..., S, V]`.
        attn_mask: bools that say who may be attended to, or floats added to the scores;
            broadcasts to `[..., L, S]`.
        dropout_p: share of the weights to drop; 0 outside training.
        is_causal: position `i` attends to positions up to `i` only.
        scale: `1 / sqrt(E)` by default.

    Returns:
        `[..., L, V]`; 0 for a query from which the mask hides all keys, as PyTorch's.

    Raises:
        ShapeError: sizes do not fit.
        ArgumentError: both `attn_mask` and `is_causal` are given.
    """
    if dropout_p > 0.0:
        weights = attention_weights(query, key, attn_mask, is_causal, scale)
        return dropout(weights, dropout_p) @ value
    how = {"is_causal": is_causal, "scale": scale}
    return call(ops.scaled_dot_product_attention, query, key, value, attn_mask, **how)


def _masked_out(mask: Value, dtype: DType) -> Value:
    return ops.where(mask, ops.full((), -math.inf, dtype), ops.full((), 0.0, dtype))


def masked_out(mask: Tensor, dtype: DType) -> Tensor:
    """Minus infinity where `mask` is true, else 0: what is added to scores to rule elements out."""
    return call(_masked_out, mask, dtype)


# ------------------------------------------------------------------------------------ activations


def relu(x: Tensor) -> Tensor:
    """`max(x, 0)`."""
    return call(ops.relu, x)


def relu6(x: Tensor) -> Tensor:
    """`min(max(x, 0), 6)`."""
    return call(ops.relu6, x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`x` where positive, `negative_slope * x` elsewhere."""
    return call(ops.leaky_relu, x, negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere."""
    return call(ops.elu, x, alpha)


def selu(x: Tensor) -> Tensor:
    """The self-normalising `elu`."""
    return call(ops.selu, x)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """`x * Phi(x)`, exactly or (`"tanh"`) approximately."""
    return call(ops.gelu, x, approximate)


def silu(x: Tensor) -> Tensor:
    """`x * sigmoid(x)`."""
    return call(ops.silu, x)


def mish(x: Tensor) -> Tensor:
    """`x * tanh(softplus(x))`."""
    return call(ops.mish, x)


def sigmoid(x: Tensor) -> Tensor:
    """`1 / (1 + exp(-x))`."""
    return call(ops.sigmoid, x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return call(ops.tanh, x)


def softplus(x: Tensor) -> Tensor:
    """`log(1 + exp(x))`."""
    return call(ops.softplus, x)


def hardswish(x: Tensor) -> Tensor:
    """`x * hardsigmoid(x)`."""
    return call(ops.hardswish, x)


def hardsigmoid(x: Tensor) -> Tensor:
    """`min(max(x + 3, 0), 6) / 6`."""
    return call(ops.hardsigmoid, x)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """`exp(x) / sum(exp(x))` along `dim`."""
    return call(ops.softmax, x, axis=dim)


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """`log(softmax(x))` along `dim`."""
    return call(ops.log_softmax, x, axis=dim)


# ----------------------------------------------------------------------------------------- losses


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """`-log(softmax(logits)[target])` over axis 1 (axis 0 of a vector).

    Args:
        logits: `[N, C, ...]` or `[C]`.
        target: class numbers `[N, ...]`, or class probabilities of the shape of `logits`.
        ignore_index: label of rows that do not count.
        reduction: `mean` over the rows that count, `sum`, or `none`.
        label_smoothing: share of the target spread evenly over all classes.

    Raises:
        IndexRangeError: a label is no class; inside a jitted function, the loss is NaN instead.
        DTypeError: the target is float and has no axis of classes.
    """
    axis = 1 if logits.ndim > 1 else 0
    _check_numbers("cross_entropy", "labels", target, 0, logits.shape[axis], ignore_index)
    how = {"label_smoothing": label_smoothing, "ignore_index": ignore_index}
    return call(ops.cross_entropy, logits, target, axis, reduction=reduction, **how)


def nll_loss(
    log_probs: Tensor, target: Tensor, ignore_index: int = -100, reduction: Reduction = "mean"
) -> Tensor:
    """`-log_probs[target]` over axis 1 (axis 0 of a vector)."""
    axis = 1 if log_probs.ndim > 1 else 0
    _check_numbers("nll_loss", "labels", target, 0, log_probs.shape[axis], ignore_index)
    return call(
        ops.nll_loss, log_probs, target, axis, ignore_index=ignore_index, reduction=reduction
    )


def mse_loss(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """`(prediction - target)²`."""
    return call(ops.mse_loss, prediction, target, reduction=reduction)


def l1_loss(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """`|prediction - target|`."""
    return call(ops.mae_loss, prediction, target, reduction=reduction)


def huber_loss(
    prediction: Tensor, target: Tensor, reduction: Reduction = "mean", delta: float = 1.0
) -> Tensor:
    """Quadratic up to a distance of `delta`, linear beyond."""
    return call(ops.huber_loss, prediction, target, delta, reduction=reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor,
    target: Tensor,
    reduction: Reduction = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`-(t log s + (1 - t) log(1 - s))` with `s = sigmoid(logits)`."""
    return call(ops.bce_with_logits, logits, target, pos_weight, reduction=reduction)


def kl_div(log_probs: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """`target * (log(target) - log_probs)`; `batchmean` divides the sum by the first axis' size."""
    if reduction == "batchmean":
        return kl_div(log_probs, target, "sum") / float(max(log_probs.shape[0], 1))
    return call(ops.kl_div, log_probs, target, reduction=reduction)


if not TYPE_CHECKING:  # type checkers should go on refusing unknown names
    __getattr__, __dir__ = answers(
        "nn.functional", functions_of(sys.modules[__name__]), ops.__all__
    )
