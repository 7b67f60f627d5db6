"""Our layers beside PyTorch's: same state, same result, same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid import nn
from pellucid.tensor.tensor import Tensor

torch: Any = pytest.importorskip("torch")
Array = NDArray[Any]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(ours: Any, theirs: Any, what: str = "", tolerance: float = 1e-5) -> None:
    a = np.asarray(ours.numpy() if isinstance(ours, Tensor) else ours, np.float64)
    b = np.asarray(theirs.detach().numpy(), np.float64)
    scale = max(1.0, float(np.abs(b).max(initial=0.0)))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def load(ours: nn.Module, theirs: Any) -> None:
    """Names and shapes of the state dicts are the same, and PyTorch's values load."""
    state = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
    mine = ours.state_dict()
    assert list(mine) == list(state)
    assert {n: v.shape for n, v in mine.items()} == {n: tuple(v.shape) for n, v in state.items()}
    ours.load_state_dict(state)


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def compare(ours: nn.Module, theirs: Any, *inputs: Array, tolerance: float = 1e-5) -> None:
    """Forward, gradients of the float inputs and of all parameters, and buffers afterwards."""
    load(ours, theirs)
    ours.train(theirs.training)
    floats = [x.dtype.kind == "f" for x in inputs]
    xs = [Tensor(x, requires_grad=f) for x, f in zip(inputs, floats, strict=True)]
    ts = [torch.tensor(x, requires_grad=f) for x, f in zip(inputs, floats, strict=True)]
    a, b = first(ours(*xs)), first(theirs(*ts))
    close(a, b, "result", tolerance)
    weights = draw(*b.shape, seed=9)
    (a * Tensor(weights)).sum().backward()
    (b * torch.tensor(weights)).sum().backward()
    for i, f in enumerate(floats):
        if f:
            close(xs[i].grad, ts[i].grad, f"gradient of input {i}", tolerance)
    grads = {n: p.grad for n, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        close(p.grad, grads[name], f"gradient of {name}", tolerance)
    for (name, mine), (_, other) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        close(mine, other, f"buffer {name}", tolerance)
