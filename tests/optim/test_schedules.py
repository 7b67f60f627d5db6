from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pellucid import optim
from pellucid.core.errors import ArgumentError
from pellucid.tensor.jit import jit
from pellucid.tensor.tensor import Parameter

torch: Any = pytest.importorskip("torch")
their = torch.optim.lr_scheduler
Make = Callable[[Any], Any]

PAIRS: dict[str, tuple[Make, Make]] = {
    "step": (lambda o: optim.StepLR(o, 3, 0.5), lambda o: their.StepLR(o, 3, 0.5)),
    "cosine": (
        lambda o: optim.CosineAnnealingLR(o, 8, 0.01),
        lambda o: their.CosineAnnealingLR(o, 8, 0.01),
    ),
    "warmup": (
        lambda o: optim.LinearWarmup(o, 4, 0.25),
        lambda o: their.LinearLR(o, 0.25, total_iters=4),
    ),
    "lambda": (
        lambda o: optim.LambdaLR(o, lambda n: 0.9**n),
        lambda o: their.LambdaLR(o, lambda n: 0.9**n),
    ),
    "one cycle": (
        lambda o: optim.OneCycleLR(o, 0.5, 12),
        lambda o: their.OneCycleLR(o, 0.5, 12, cycle_momentum=False),
    ),
    "one straight cycle": (
        lambda o: optim.OneCycleLR(o, 0.5, 12, 0.5, "linear", 10.0, 100.0),
        lambda o: their.OneCycleLR(
            o, 0.5, 12, pct_start=0.5, anneal_strategy="linear", div_factor=10.0,
            final_div_factor=100.0, cycle_momentum=False,
        ),
    ),
}  # fmt: skip


def both() -> tuple[Any, Any]:
    groups: list[list[dict[str, Any]]] = [
        [{"params": [make([1.0])], "lr": 0.2}, {"params": [make([1.0])]}]
        for make in (Parameter, lambda v: torch.nn.Parameter(torch.tensor(v)))
    ]
    return optim.SGD(groups[0], lr=0.1), torch.optim.SGD(groups[1], lr=0.1)


@pytest.mark.parametrize("name", PAIRS)
def test_rates_are_pytorchs(name: str) -> None:
    ours, theirs = both()
    mine, other = PAIRS[name][0](ours), PAIRS[name][1](theirs)
    for n in range(12):
        np.testing.assert_allclose(
            mine.get_last_lr(), other.get_last_lr(), rtol=1e-6, err_msg=str(n)
        )
        if n < 11:
            theirs.step()
            mine.step()
            other.step()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_reduce_on_plateau(mode: Any) -> None:
    ours, theirs = both()
    how = {"factor": 0.5, "patience": 1, "cooldown": 2, "min_lr": 0.02}
    mine = optim.ReduceLROnPlateau(ours, mode, **how)  # type: ignore[arg-type]  # a mixed dict
    other = their.ReduceLROnPlateau(theirs, mode, **how)
    sign = 1 if mode == "min" else -1
    for value in [3, 2, 2, 2.5, 2.1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, math.nan, 1]:
        mine.step(sign * value)
        other.step(sign * value)
        np.testing.assert_allclose(mine.get_last_lr(), [g["lr"] for g in theirs.param_groups])


@pytest.mark.parametrize("how", [{}, {"eps": 0.3}, {"eps": 0.0}])
def test_plateau_leaves_rates_that_would_hardly_fall(how: dict[str, float]) -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, **how)  # type: ignore[arg-type]
    for _ in range(60):
        schedule.step(1.0)
    (rate,) = schedule.get_last_lr()
    eps = how.get("eps", 1e-8)
    assert rate == next(r for i in range(60) if (r := 0.5**i) / 2 <= eps or i == 59)


def test_warmup_then_cosine() -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=1.0)
    schedule = optim.LinearWarmup(optimizer, 2, 0.5, total_steps=6, end_factor=0.1)
    rates = []
    for _ in range(8):
        rates += schedule.get_last_lr()
        schedule.step()
    falling = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(5)]
    np.testing.assert_allclose(rates, [0.5, 0.75, *falling, 0.1])


def test_snapshot_goes_on() -> None:
    a, b = both()[0], both()[0]
    first, second = optim.StepLR(a, 2), optim.StepLR(b, 2)
    for _ in range(3):
        first.step()
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == first.get_last_lr()


def test_schedule_does_not_recompile_a_step() -> None:
    p = Parameter([1.0])
    optimizer = optim.SGD([p], lr=1.0)
    schedule = optim.StepLR(optimizer, 1, 0.5)

    @jit
    def step() -> None:
        p.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
        schedule.step()
    assert p.tolist() == [1 - 1 - 0.5 - 0.25]
    assert "compiled 1 time" in step.explain()


def test_bad_settings() -> None:
    optimizer = both()[0]
    with pytest.raises(ArgumentError, match="StepLR: step_size must be > 0, got step_size 0"):
        optim.StepLR(optimizer, 0)
    with pytest.raises(ArgumentError, match="needs one function per group, got functions 1"):
        optim.LambdaLR(optimizer, [float])
    with pytest.raises(ArgumentError, match="total_steps must be more than total_iters"):
        optim.LinearWarmup(optimizer, 5, total_steps=5)
    with pytest.raises(ArgumentError, match="factor must be in"):
        optim.ReduceLROnPlateau(optimizer, factor=1.0)
    cycle = optim.OneCycleLR(optimizer, 1.0, 2)
    cycle.step()
    cycle.step()
    with pytest.raises(ArgumentError, match="the cycle is over"):
        cycle.step()


def test_a_plateau_ends_where_the_rate_hardly_changes() -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=1e-6)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0)
    for _ in range(50):
        schedule.step(1.0)
    assert schedule.get_last_lr() == [pytest.approx(1e-8)]
