"""A jitted function notices what changed in Python since it was recorded."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn, optim

X = pl.Tensor(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))
SCALE: Any = 2.0
COUNT = 0


def times() -> Any:
    return X * SCALE


def compiled(f: Any) -> int:
    return int(f.explain().split("compiled ")[1].split()[0])


class Scaled(nn.Module):
    def __init__(self) -> None:
        self.linear = nn.Linear(3, 3)
        self.scale = 2.0
        self.sizes = [1.0, 2.0]
        self.calls = 0
        self.unread = 0

    def forward(self, x: pl.Tensor) -> Any:
        self.calls += 1
        return self.linear(x) * self.scale + sum(self.sizes)


def _replace_weight(m: Any) -> None:
    m.linear.weight = nn.Parameter(np.ones((3, 3), np.float32))


def _replace_layer(m: Any) -> None:
    m.linear = nn.Linear(3, 3)


def _without_bias(m: Any) -> None:
    m.linear.bias = None


def _number(m: Any) -> None:
    m.scale = 5.0


def _list_in_place(m: Any) -> None:
    m.sizes.append(3.0)
    m.sizes = m.sizes  # a list is looked at again when an attribute is set


@pytest.mark.parametrize(
    "edit", [_replace_weight, _replace_layer, _without_bias, _number, _list_in_place]
)
def test_an_edited_module(edit: Callable[[Any], None]) -> None:
    model = Scaled()
    f = pl.jit(model)
    f(X)
    edit(model)
    np.testing.assert_allclose(f(X).numpy(), model(X).numpy(), rtol=1e-5, atol=1e-6)
    assert compiled(f) == 2


def test_what_was_not_read_may_change() -> None:
    model = Scaled()
    f = pl.jit(model)
    for i in range(4):
        f(X)
        model.unread = i
        model(X)  # counts its calls, as recording did
        Scaled().scale = 3.0
    assert compiled(f) == 1


def test_a_layer_appended_or_put_in_anothers_place() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    f = pl.jit(model)
    f(X)
    model.append(nn.ReLU())
    np.testing.assert_allclose(f(X).numpy(), model(X).numpy(), rtol=1e-5)
    model[0] = nn.Linear(3, 3)
    np.testing.assert_allclose(f(X).numpy(), model(X).numpy(), rtol=1e-5)
    delattr(model, "1")
    np.testing.assert_allclose(f(X).numpy(), model(X).numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (nn.Dropout(0.9), "p", 0.0),
        (nn.LayerNorm(3), "eps", 1.0),
        (nn.BatchNorm1d(3).eval(), "eps", 1.0),
        (nn.LeakyReLU(0.1), "negative_slope", 0.5),
    ],
)
def test_settings_of_layers(module: nn.Module, name: str, value: float) -> None:
    f = pl.jit(module)
    f(X)
    setattr(module, name, value)
    np.testing.assert_allclose(f(X).numpy(), module(X).numpy(), rtol=1e-5, atol=1e-6)


def test_globals_and_closures(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = 1.0
    helper = functools.partial(lambda x, y: x + y + offset, 0.0)
    f = pl.jit(lambda x: helper(x) * SCALE + times())
    for scale, offset in [(2.0, 1.0), (3.0, 1.0), (3, 1.0), (3, 2.0), (2.0, 1.0)]:
        monkeypatch.setitem(globals(), "SCALE", scale)
        want = (X.numpy() + offset) * scale + X.numpy() * scale
        np.testing.assert_allclose(f(X).numpy(), want, rtol=1e-5)
    assert compiled(f) == 4  # the last fits the first again
    assert "global SCALE: 2.0 -> 3.0" in f.explain()
    assert "closure variable offset: 1.0 -> 2.0" in f.explain()


class Shifted(Scaled):
    def forward(self, x: pl.Tensor) -> Any:
        return super().forward(x) + self.shift()

    def shift(self) -> Any:
        return self.twice * SCALE

    @property
    def twice(self) -> Any:
        return 2.0 * OFFSET


OFFSET: Any = 1.0


def test_globals_of_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Shifted()
    f = pl.jit(model)
    f(X)
    for name in ("SCALE", "OFFSET"):
        monkeypatch.setitem(globals(), name, 7.0)
        np.testing.assert_allclose(f(X).numpy(), model(X).numpy(), rtol=1e-5)
    assert compiled(f) == 3


def test_a_jitted_function_inside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = pl.jit(lambda x: x * SCALE)
    f = pl.jit(lambda x: inner(x) + 1)
    f(X)
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    np.testing.assert_allclose(f(X).numpy(), X.numpy() * 5 + 1, rtol=1e-5)


def test_a_global_that_recording_itself_changes() -> None:
    @pl.jit
    def f(x: pl.Tensor) -> pl.Tensor:
        global COUNT  # noqa: PLW0603  # what the test is about
        COUNT += 1
        return x + 1

    f(X)
    f(X)
    assert (COUNT, compiled(f)) == (1, 1)


def test_a_new_optimizer_and_a_new_group() -> None:
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([a], lr=0.1)

    @pl.jit
    def step() -> None:
        a.grad = b.grad = None
        ((a * a).sum() + (b * b).sum()).backward()
        optimizer.step()

    step()
    optimizer.add_param_group({"params": [b]})
    step()
    np.testing.assert_allclose([a.item(), b.item()], [0.64, 0.8], rtol=1e-6)
    optimizer = optim.SGD([a], lr=0.5)
    step()
    np.testing.assert_allclose([a.item(), b.item()], [0.0, 0.8], atol=1e-6)


def test_modules_are_watched_only_while_a_function_is_recorded() -> None:
    assert "__getattribute__" not in vars(nn.Module)
    seen = []

    def look(x: pl.Tensor) -> pl.Tensor:
        seen.append("__getattribute__" in vars(nn.Module))
        return x + 1

    pl.jit(look)(X)

    def fail(x: pl.Tensor) -> pl.Tensor:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        pl.jit(fail)(X)
    assert seen == [True]
    assert "__getattribute__" not in vars(nn.Module)


def test_two_threads_record_at_once() -> None:
    models = [Scaled() for _ in range(8)]
    results: list[Any] = [None] * 8

    def run(i: int) -> None:
        results[i] = pl.jit(models[i])(X).numpy()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for model, result in zip(models, results, strict=True):
        np.testing.assert_allclose(result, model(X).numpy(), rtol=1e-5)
    assert "__getattribute__" not in vars(nn.Module)


def test_a_function_compiled_again_and_again_says_so(caplog: pytest.LogCaptureFixture) -> None:
    f = pl.jit(lambda x, n: x + len(n), static_argnames=["n"])
    with caplog.at_level("WARNING"):
        pl.jit.__globals__["_LOG"].addHandler(caplog.handler)
        for i in range(32):
            f(X, "a" * i)
        pl.jit.__globals__["_LOG"].removeHandler(caplog.handler)
    assert "compiled 32 times, now because arguments changed: n" in caplog.text
