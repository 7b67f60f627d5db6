"""Parameters that are left out of some steps: each counts its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn, optim

Settings = dict[str, Any]
KINDS: list[tuple[str, Settings]] = [
    ("Adam", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 1.0}),
]
# which of three parameters have a gradient, step by step
HISTORY = ["a", "a", "ab", "bc", "c", "abc", "a", "abc"]


def parameters() -> dict[str, nn.Parameter]:
    return {n: nn.Parameter(np.full(2, i + 1.0), name=n) for i, n in enumerate("abc")}


def stepper(ps: dict[str, nn.Parameter], optimizer: optim.Optimizer) -> Callable[[str], None]:
    def step(names: str) -> None:
        for p in ps.values():
            p.grad = None
        sum(((ps[n] ** 2).sum() for n in names), start=pl.zeros((), "float64")).backward()
        optimizer.step()

    return step


def alone(kind: str, settings: Settings, name: str) -> np.ndarray[Any, Any]:
    """The parameter optimised by itself, through the steps in which it has a gradient."""
    ps = {name: parameters()[name]}
    step = stepper(ps, getattr(optim, kind)(ps.values(), **settings))
    for names in HISTORY:
        if name in names:
            step(name)
    return ps[name].numpy()


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=[k for k, _ in KINDS])
@pytest.mark.parametrize("jitted", [False, True])
def test_each_parameter_moves_as_it_would_alone(
    kind: str, settings: Settings, jitted: bool
) -> None:
    ps = parameters()
    step: Any = stepper(ps, getattr(optim, kind)(ps.values(), **settings))
    if jitted:
        step = pl.jit(step, static_argnames=["names"])
    for names in HISTORY:
        step(names)
    for name, p in ps.items():
        np.testing.assert_allclose(p.numpy(), alone(kind, settings, name), rtol=1e-12)


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=[k for k, _ in KINDS])
def test_a_snapshot_keeps_the_counts(kind: str, settings: Settings) -> None:
    ps, others = parameters(), parameters()
    first = getattr(optim, kind)(ps.values(), **settings)
    second = getattr(optim, kind)(others.values(), **settings)
    step, again = stepper(ps, first), pl.jit(stepper(others, second), static_argnames=["names"])
    again("abc")  # compiled before the snapshot comes
    for names in HISTORY[:5]:
        step(names)
    for p, q in zip(ps.values(), others.values(), strict=True):
        q.assign_(p.numpy())
    second.load_state_dict(first.state_dict())
    steps = [s["step"].item() for s in second.state_dict()["state"].values()]
    assert steps == [3.0, 2.0, 2.0]
    for names in HISTORY[5:]:
        step(names)
        again(names)
    for p, q in zip(ps.values(), others.values(), strict=True):
        np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=1e-12)


def test_nothing_is_compiled_twice_while_the_same_are_left_out() -> None:
    ps = parameters()
    step = pl.jit(stepper(ps, optim.Adam(ps.values())), static_argnames=["names"])
    for _ in range(4):
        step("a")
    assert "compiled 1 time" in step.explain()


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=[k for k, _ in KINDS])
def test_as_pytorch(kind: str, settings: Settings) -> None:
    torch = pytest.importorskip("torch")
    ours = parameters()
    theirs = {n: torch.nn.Parameter(torch.tensor(p.numpy())) for n, p in ours.items()}
    step = stepper(ours, getattr(optim, kind)(ours.values(), **settings))
    optimizer = getattr(torch.optim, kind)(theirs.values(), **settings)
    if kind == "AdamW":
        optimizer.param_groups[0]["weight_decay"] = 0.01
    for names in HISTORY:
        step(names)
        optimizer.zero_grad()
        sum((theirs[n] ** 2).sum() for n in names).backward()
        optimizer.step()
    for name, p in ours.items():
        np.testing.assert_allclose(p.numpy(), theirs[name].detach().numpy(), rtol=1e-7)
