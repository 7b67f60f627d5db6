"""Activations as modules; the formulas are in `functional`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pellucid.nn import functional as F
from pellucid.nn.module import Module
from pellucid.tensor.tensor import Tensor


class _Activation(Module):
    """A function of one tensor, applied elementwise."""

    function: ClassVar[Callable[[Tensor], Tensor]]

    def forward(self, x: Tensor) -> Tensor:
        """`x`'s shape."""
        return type(self).function(x)


class ReLU(_Activation):
    """`max(x, 0)`."""

    function = F.relu


class ReLU6(_Activation):
    """`min(max(x, 0), 6)`."""

    function = F.relu6


class SELU(_Activation):
    """The self-normalising ELU."""

    function = F.selu


class SiLU(_Activation):
    """`x * sigmoid(x)`."""

    function = F.silu


class Mish(_Activation):
    """`x * tanh(softplus(x))`."""

    function = F.mish


class Sigmoid(_Activation):
    """`1 / (1 + exp(-x))`."""

    function = F.sigmoid


class Tanh(_Activation):
    """The hyperbolic tangent."""

    function = F.tanh


class Softplus(_Activation):
    """`log(1 + exp(x))`."""

    function = F.softplus


class Hardswish(_Activation):
    """`x * hardsigmoid(x)`."""

    function = F.hardswish


class Hardsigmoid(_Activation):
    """`min(max(x + 3, 0), 6) / 6`."""

    function = F.hardsigmoid


class _WithOption(Module):
    """A function of one tensor and one number or word."""

    function: ClassVar[Callable[..., Tensor]]
    option: ClassVar[str]

    def __init__(self, value: Any) -> None:
        setattr(self, self.option, value)

    def forward(self, x: Tensor) -> Tensor:
        """`x`'s shape."""
        return type(self).function(x, getattr(self, self.option))

    def extra_repr(self) -> str:
        """The option."""
        return f"{self.option}={getattr(self, self.option)!r}"


class LeakyReLU(_WithOption):
    """`x` where positive, `negative_slope * x` elsewhere."""

    function, option = F.leaky_relu, "negative_slope"

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__(negative_slope)


class ELU(_WithOption):
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere."""

    function, option = F.elu, "alpha"

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)


class GELU(_WithOption):
    """`x * Phi(x)`, exactly (`"none"`) or approximately (`"tanh"`)."""

    function, option = F.gelu, "approximate"

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate)


class Softmax(_WithOption):
    """`exp(x) / sum(exp(x))` along `dim`."""

    function, option = F.softmax, "dim"

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)


class LogSoftmax(_WithOption):
    """`log(softmax(x))` along `dim`."""

    function, option = F.log_softmax, "dim"

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)
