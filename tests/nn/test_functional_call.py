"""A module as a function of its parameters; gradients per example of a small convolutional net."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(0)


class LeNet(nn.Module):
    def __init__(self) -> None:
        self.c1, self.c2 = nn.Conv2d(1, 3, 5, padding=2), nn.Conv2d(3, 4, 5)
        self.f1, self.f2 = nn.Linear(16, 8), nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = nn.functional.max_pool2d(pl.relu(self.c1(x)), 2)
        x = nn.functional.max_pool2d(pl.relu(self.c2(x)), 2)
        return self.f2(pl.relu(self.f1(x.reshape((x.shape[0], -1)))))


def parameters(module: nn.Module) -> dict[str, pl.Tensor]:
    return {name: pl.Tensor(p.numpy()) for name, p in module.named_parameters()}


MODEL = LeNet()
X = RNG.standard_normal((6, 1, 16, 16)).astype(np.float32)
Y = RNG.integers(0, 5, 6)


def loss(params: Any, x: Any, y: Any) -> Any:
    scores = nn.functional_call(MODEL, params, x.unsqueeze(0))
    return nn.functional.cross_entropy(scores, y.unsqueeze(0))


@pytest.mark.parametrize("around", [pl.jit, lambda f: f], ids=["jit", "eager"])
def test_gradients_per_example_equal_a_loop(around: Any) -> None:
    params, x, y = parameters(MODEL), pl.Tensor(X), pl.Tensor(Y)
    got = around(pl.vmap(pl.grad(loss), in_axes=(None, 0, 0)))(params, x, y)
    single = pl.grad(loss)
    for i in range(len(Y)):
        want = single(params, x[i], y[i])
        assert list(want) == list(got)
        for name, g in want.items():
            np.testing.assert_allclose(got[name].numpy()[i], g.numpy(), rtol=1e-4, atol=1e-6)
    whole = pl.grad(lambda p: nn.functional.cross_entropy(nn.functional_call(MODEL, p, x), y))
    for name, g in whole(params).items():
        np.testing.assert_allclose(got[name].numpy().mean(0), g.numpy(), rtol=1e-4, atol=1e-6)


def test_the_module_is_as_before() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    before = dict(model.named_parameters())
    x = pl.Tensor(RNG.standard_normal((4, 3)).astype(np.float32))
    plain = model(x).numpy()
    zeros = {name: pl.zeros(p.shape) for name, p in before.items()}
    assert nn.functional_call(model, zeros, x).tolist() == [[0.0, 0.0]] * 4
    with pytest.raises(ShapeError):
        nn.functional_call(model, zeros, pl.ones((4, 7)))
    assert dict(model.named_parameters()) == before
    np.testing.assert_array_equal(model(x).numpy(), plain)
    some = nn.functional_call(model, {"0.bias": zeros["0.bias"]}, x)
    assert some.shape == (4, 2)


def test_compiled_code_sees_the_other_values() -> None:
    model = nn.Linear(2, 2)
    run = pl.jit(model.forward)
    x = pl.ones((1, 2))
    plain = run(x).numpy()
    zeros = {name: pl.zeros(p.shape) for name, p in model.named_parameters()}

    class Wrap(nn.Module):
        def __init__(self) -> None:
            self.inner = model

        def forward(self, x: Any) -> Any:
            return run(x)

    inside = {f"inner.{name}": v for name, v in zeros.items()}
    assert nn.functional_call(Wrap(), inside, x).tolist() == [[0.0, 0.0]]
    np.testing.assert_array_equal(run(x).numpy(), plain)
    call = pl.jit(lambda p, x: nn.functional_call(model, p, x))
    assert call(zeros, x).tolist() == [[0.0, 0.0]]
    np.testing.assert_allclose(call(parameters(model), x).numpy(), plain, rtol=1e-6)


def test_shared_parameters_are_replaced_everywhere() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    twice = {"a.weight": pl.Tensor(2.0 * np.eye(2, dtype=np.float32))}
    assert nn.functional_call(Tied(), twice, pl.ones((1, 2))).tolist() == [[4.0, 4.0]]


def test_gradients_reach_the_tape() -> None:
    model = nn.Linear(2, 1, bias=False)
    w = pl.Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    nn.functional_call(model, {"weight": w}, pl.Tensor([[3.0, 4.0]])).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [[3.0, 4.0]]
    assert model.weight.grad is None


def test_it_refuses() -> None:
    model = nn.Linear(2, 3)
    x = pl.ones((1, 2))
    with pytest.raises(ArgumentError, match=r"no parameter or buffer 'wieght'.*weight"):
        nn.functional_call(model, {"wieght": pl.ones((3, 2))}, x)
    with pytest.raises(ShapeError, match=r"weight has another shape.*\(3, 2\) and it \(2, 3\)"):
        nn.functional_call(model, {"weight": pl.ones((2, 3))}, x)
    with pytest.raises(DTypeError, match="another kind of dtype"):
        nn.functional_call(model, {"bias": pl.ones((3,), dtype="int32")}, x)


def test_equal_to_a_peer() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model, peer = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    params = parameters(model)
    given = {name: torch.tensor(p.numpy()) for name, p in params.items()}
    x = RNG.standard_normal((5, 3)).astype(np.float32)

    def theirs(p: Any, x: Any) -> Any:
        return (torch.func.functional_call(peer, p, (x,)) ** 2).sum()

    def ours(p: Any, x: Any) -> Any:
        return (nn.functional_call(model, p, x) ** 2).sum()

    want = torch.func.vmap(torch.func.grad(theirs), in_dims=(None, 0))(given, torch.tensor(x))
    got = pl.vmap(pl.grad(ours), in_axes=(None, 0))(params, pl.Tensor(x))
    for name, g in got.items():
        np.testing.assert_allclose(g.numpy(), want[name].numpy(), rtol=1e-5, atol=1e-6)
