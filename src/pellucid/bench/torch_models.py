"""The benchmark's models in PyTorch, and one training step of any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pellucid.bench.layers import (
    Clip,
    Conv,
    Dense,
    Flat,
    GlobalPool,
    Layer,
    Layers,
    MaxPool,
    Norm,
    Residual,
)
from pellucid.bench.peers import load


def build_torch(layers: Layers) -> Any:
    """The network as PyTorch's module, with the same names of weights."""
    return load("torch").nn.Sequential(*map(_module, layers))


def _module(layer: Layer) -> Any:
    nn = load("torch").nn
    match layer:
        case Dense(inputs, outputs):
            return nn.Linear(inputs, outputs)
        case Conv(inputs, outputs, kernel, stride, padding, groups, bias):
            return nn.Conv2d(inputs, outputs, kernel, stride, padding, 1, groups, bias)
        case Norm(channels):
            return nn.BatchNorm2d(channels)
        case Clip(capped):
            return nn.ReLU6() if capped else nn.ReLU()
        case MaxPool(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case GlobalPool():
            return nn.AdaptiveAvgPool2d(1)
        case Flat():
            return nn.Flatten()
        case Residual(body, around):
            return _residual(build_torch(body), build_torch(around))


def _residual(body: Any, around: Any) -> Any:
    nn = load("torch").nn

    class Sum(nn.Module):  # type: ignore[misc, name-defined]  # torch is only known now
        def __init__(self) -> None:
            super().__init__()
            self.body, self.around = body, around

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.around(x)

    return Sum()


def torch_loss(model: Any, x: Any, y: Any) -> Any:
    """Mean cross entropy; text logits are [batch, time, vocabulary]."""
    logits = model(x)
    if logits.ndim == 3:
        logits, y = logits.reshape(-1, logits.shape[-1]), y.reshape(-1)
    return load("torch").nn.functional.cross_entropy(logits, y)


def torch_step(model: Any, lr: float, compiled: bool = False, mode: str | None = None) -> Any:
    """A training step with AdamW, eager or with `torch.compile` around forward and loss."""
    torch = load("torch")
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    loss_of: Callable[[Any, Any, Any], Any] = torch_loss
    if compiled:
        torch.compiler.reset()  # else many forms of one function end in eager mode
        loss_of = torch.compile(torch_loss, mode=mode)

    def step(x: Any, y: Any) -> Any:
        loss = loss_of(model, x, y)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return step
