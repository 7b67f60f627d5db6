"""What `load_state_dict` takes, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import optim
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.tensor.tensor import Parameter, Tensor


def stepped(make: Any, steps: int = 2, **how: Any) -> Any:
    p = Parameter([1.0, -2.0])
    optimizer = make([p], **how)
    for _ in range(steps):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    return optimizer


def frozen(optimizer: optim.Optimizer) -> str:
    return repr(optimizer) + repr(optimizer.state_dict())


@pytest.mark.parametrize(
    "given", [{}, [], None, {0: {"step": 1}}, {"state": {}}, {"state": {}, "param_groups": [1]}]
)
def test_what_is_no_snapshot(given: Any) -> None:
    optimizer = stepped(optim.Adam)
    with pytest.raises(
        ArgumentError, match=r"Adam: a snapshot has `state`.*, got it .*state_dict\(\)"
    ):
        optimizer.load_state_dict(given)


def with_settings(snapshot: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {**snapshot, "param_groups": [{**snapshot["param_groups"][0], **settings}]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -5}, "lr must be >= 0, got lr -5"),
        ({"lr": "fast"}, "lr must be >= 0, got lr 'fast'"),
        ({"lr": 0.7, "betas": (0.9, 1.0)}, r"betas\[1\] must be in \[0, 1\)"),
        ({"lr": 0.7, "betas": [0.9]}, "betas must be two numbers"),
        ({"lr": 0.7, "amsgrad": True}, "amsgrad decides what state there is"),
    ],
)
def test_settings_are_checked_before_anything_changes(
    settings: dict[str, Any], message: str
) -> None:
    optimizer = stepped(optim.Adam)
    before = frozen(optimizer)
    snapshot = with_settings(stepped(optim.Adam, 5).state_dict(), **settings)
    with pytest.raises(ArgumentError, match=message):
        optimizer.load_state_dict(snapshot)
    assert frozen(optimizer) == before


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"step": -1.0}, ArgumentError, "step of parameter 0 must be >= 0"),
        ({"step": "two"}, ArgumentError, "step of parameter 0 must be >= 0"),
        ({"exp_avg_sq": Tensor([1.0])}, ShapeError, "exp_avg_sq of parameter 0 has another shape"),
        ({"exp_avg_sq": "x"}, ArgumentError, "exp_avg_sq of parameter 0 is no tensor"),
        ({"exp_avg_sq": None}, ArgumentError, "parameter 0 has no exp_avg_sq"),
    ],
)
def test_state_is_checked_before_anything_changes(
    state: dict[str, Any], error: type[Exception], message: str
) -> None:
    optimizer = stepped(optim.Adam)
    before = frozen(optimizer)
    snapshot = with_settings(stepped(optim.Adam, 5).state_dict(), lr=0.7)
    snapshot["state"][0] = {**snapshot["state"][0], **state}
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(snapshot)
    assert frozen(optimizer) == before


def test_state_that_is_no_mapping() -> None:
    snapshot = {**stepped(optim.Adam).state_dict(), "state": {0: [1.0]}}
    with pytest.raises(ArgumentError, match="state is not made of mappings"):
        stepped(optim.Adam).load_state_dict(snapshot)


def test_parameters_the_snapshot_does_not_know_start_afresh() -> None:
    optimizer = stepped(optim.Adagrad, initial_accumulator_value=0.5)
    snapshot = {**optimizer.state_dict(), "state": {}}
    optimizer.load_state_dict(snapshot)
    state = optimizer.state_dict()["state"][0]
    assert state["step"].item() == 0.0
    assert state["sum"].tolist() == [0.5, 0.5]


def test_direction_that_is_given_has_been_taken() -> None:
    optimizer = stepped(optim.SGD, 0, lr=0.1, momentum=0.9, dampening=0.5)
    settings = optimizer.state_dict()["param_groups"]
    direction = np.array([3.0, 4.0], np.float32)
    for given, first in (
        ({"momentum_buffer": direction}, False),
        ({"momentum_buffer": None}, True),
    ):
        optimizer.load_state_dict({"state": {0: given}, "param_groups": settings})
        p = optimizer.param_groups[0].params[0]
        p.assign_(Tensor([1.0, -2.0]))
        optimizer.zero_grad()
        p.sum().backward()
        optimizer.step()
        moved = np.ones(2) if first else 0.9 * direction + 0.5
        np.testing.assert_allclose(p.numpy(), [1.0, -2.0] - 0.1 * moved, rtol=1e-6)


def test_sgd_goes_on_from_pytorch() -> None:
    torch: Any = pytest.importorskip("torch")
    how = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    t = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    peer = torch.optim.SGD([t], **how)
    mine = stepped(optim.SGD, 0, **how)
    for i in range(4):
        peer.zero_grad()
        (t * t).sum().backward()
        peer.step()
        if i == 1:
            mine.load_state_dict(peer.state_dict())
            mine.param_groups[0].params[0].assign_(Tensor(t.detach().numpy()))
    p = mine.param_groups[0].params[0]
    for _ in range(2):
        mine.zero_grad()
        (p * p).sum().backward()
        mine.step()
    np.testing.assert_allclose(p.numpy(), t.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("Adagrad", {"initial_accumulator_value": -1.0}, "initial_accumulator_value must be >= 0"),
        ("Adam", {"betas": (0.9,)}, r"Adam: betas must be two numbers, got betas \(0.9,\)"),
        ("Adam", {"betas": 0.9}, "Adam: betas must be two numbers, got betas 0.9"),
        ("Adam", {"betas": (0.9, "x")}, r"betas\[1\] must be in \[0, 1\), got betas\[1\] 'x'"),
        ("SGD", {"lr": None}, "lr must be >= 0, got lr None"),
    ],
)
def test_settings_of_the_wrong_kind(name: str, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        getattr(optim, name)([Parameter([1.0])], **how)


def test_settings_may_be_arrays_and_lists() -> None:
    optimizer = stepped(optim.Adam, lr=np.array(0.5), betas=[0.5, np.float32(0.75)])
    assert optimizer.param_groups[0].lr == 0.5
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.75)
