"""Losses as modules; the formulas are in `functional`."""

from __future__ import annotations

from pellucid.nn import functional as F
from pellucid.nn.functional import Reduction
from pellucid.nn.module import Module
from pellucid.tensor.tensor import Tensor


class _Loss(Module):
    """A loss with a `reduction`: `mean`, `sum` or `none`."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = reduction

    def extra_repr(self) -> str:
        """The reduction."""
        return f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """`-log(softmax(logits)[target])` over axis 1.

    Args:
        ignore_index: label of rows that do not count.
        reduction: `mean` over the rows that count, `sum`, or `none`.
        label_smoothing: share of the target spread evenly over all classes.
    """

    def __init__(
        self,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`[N, C, ...]` and class numbers `[N, ...]`, or probabilities of the logits' shape."""
        how = (self.ignore_index, self.reduction, self.label_smoothing)
        return F.cross_entropy(logits, target, *how)


class NLLLoss(_Loss):
    """`-log_probs[target]` over axis 1; arguments as `CrossEntropyLoss`."""

    def __init__(self, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.ignore_index = ignore_index

    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:
        """`[N, C, ...]` and class numbers `[N, ...]`."""
        return F.nll_loss(log_probs, target, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """`(prediction - target)²`."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape."""
        return F.mse_loss(prediction, target, self.reduction)


class L1Loss(_Loss):
    """`|prediction - target|`."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape."""
        return F.l1_loss(prediction, target, self.reduction)


class HuberLoss(_Loss):
    """Quadratic up to a distance of `delta`, linear beyond."""

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape."""
        return F.huber_loss(prediction, target, self.reduction, self.delta)


class BCEWithLogitsLoss(_Loss):
    """`-(t log s + (1 - t) log(1 - s))` with `s = sigmoid(logits)`; `pos_weight` scales `log s`."""

    def __init__(self, reduction: Reduction = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape."""
        weight = vars(self)["pos_weight"]
        return F.binary_cross_entropy_with_logits(logits, target, self.reduction, weight)


class KLDivLoss(Module):
    """`target * (log(target) - log_probs)`; `batchmean` divides the sum by the batch's size."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape; the target is probabilities."""
        return F.kl_div(log_probs, target, self.reduction)
