from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import nn, optim
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.tensor.jit import jit
from pellucid.tensor.tensor import Parameter, Tensor


def one_step(optimizer: optim.Optimizer, *params: Parameter) -> None:
    optimizer.zero_grad()
    total = sum(((p * p).sum() for p in params), start=Tensor(0.0))
    total.backward()
    optimizer.step()


def test_groups_have_settings_of_their_own() -> None:
    a, b = Parameter([1.0]), Parameter([1.0])
    groups: list[dict[str, Any]] = [{"params": [a]}, {"params": [b], "lr": 0.5}]
    optimizer = optim.SGD(groups, lr=0.25)
    one_step(optimizer, a, b)
    assert a.tolist() == [0.5]
    assert b.tolist() == [0.0]


def test_parameters_without_gradient_stay_as_they_are() -> None:
    a, b = Parameter([1.0]), Parameter([1.0])
    optimizer = optim.AdamW([a, b], lr=0.1)
    one_step(optimizer, a)
    assert b.tolist() == [1.0]
    assert a.tolist() != [1.0]


def test_learning_rate_changes_without_compiling_again() -> None:
    p = Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.25)

    @jit
    def step() -> None:
        (p * p).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    optimizer.param_groups[0]["lr"] = 0.5
    step()
    assert p.tolist() == [0.0]
    assert "compiled 1 time" in step.explain()


def test_other_settings_compile_again_and_say_so() -> None:
    p = Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.25, momentum=0.5)

    @jit
    def step() -> None:
        (p * p).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    optimizer.param_groups[0]["momentum"] = 0.25
    step()
    assert "ParamGroup.momentum: 0.5 -> 0.25" in step.explain()


def test_learning_rate_cannot_be_set_while_tracing() -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=0.25)

    @jit
    def step() -> None:
        optimizer.param_groups[0].lr = 0.1

    with pytest.raises(ArgumentError, match="a learning rate cannot be set inside a jitted"):
        step()


def test_state_dict_goes_on_where_it_stopped() -> None:
    def train(steps: int, snapshot: dict[str, Any] | None, start: list[float]) -> Any:
        p = Parameter(start)
        optimizer = optim.Adam([p], lr=0.1)
        if snapshot is not None:
            optimizer.load_state_dict(snapshot)
        for _ in range(steps):
            one_step(optimizer, p)
        return p.tolist(), optimizer.state_dict()

    whole, _ = train(6, None, [1.0, -2.0])
    half, snapshot = train(3, None, [1.0, -2.0])
    rest, _ = train(3, snapshot, half)
    np.testing.assert_allclose(rest, whole, rtol=1e-6)


def test_state_dict_is_pytorchs_form_and_loads_from_it() -> None:
    torch: Any = pytest.importorskip("torch")
    t = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    other = torch.optim.Adam([t], lr=0.1)
    p = Parameter([1.0, -2.0])
    mine = optim.Adam([p], lr=0.3)
    for _ in range(3):
        other.zero_grad()
        (t * t).sum().backward()
        other.step()
    assert set(other.state_dict()["state"][0]) == set(mine.state_dict()["state"][0])
    mine.load_state_dict(other.state_dict())
    p.assign_(Tensor(t.detach().numpy()))
    assert mine.param_groups[0].lr == 0.1
    one_step(mine, p)
    other.zero_grad()
    (t * t).sum().backward()
    other.step()
    np.testing.assert_allclose(p.numpy(), t.detach().numpy(), rtol=1e-6)


def test_snapshot_that_does_not_fit_changes_nothing() -> None:
    p = Parameter([1.0, 2.0])
    optimizer = optim.Adam([p], lr=0.1)
    other = optim.Adam([Parameter([1.0])], lr=0.7).state_dict()
    with pytest.raises(ShapeError, match="exp_avg of parameter 0 has another shape"):
        optimizer.load_state_dict(other)
    assert optimizer.param_groups[0].lr == 0.1
    two = optim.Adam([Parameter([1.0]), Parameter([2.0])]).state_dict()
    with pytest.raises(ArgumentError, match=r"the snapshot has other groups.*\[2\]"):
        optimizer.load_state_dict(two)


def test_what_is_no_parameter_is_refused() -> None:
    p = Parameter([1.0])
    with pytest.raises(ArgumentError, match="SGD: needs at least one parameter"):
        optim.SGD([])
    with pytest.raises(ArgumentError, match=r"optimises Parameters, got it Tensor.*parameters\(\)"):
        optim.SGD([Tensor([1.0])])  # type: ignore[arg-type]  # refused
    with pytest.raises(ArgumentError, match="is given twice"):
        optim.SGD([p, p])
    with pytest.raises(ArgumentError, match=r"no setting 'momentun'.*did you mean 'momentum'"):
        optim.SGD([{"params": [p], "momentun": 0.9}])


def test_named_parameters_are_taken_too() -> None:
    layer = nn.Linear(2, 2)
    assert len(optim.SGD(layer.named_parameters()).param_groups[0].params) == 2


def test_setting_that_decides_the_state_stays() -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=0.1)
    with pytest.raises(ArgumentError, match="momentum decides what state there is"):
        optimizer.param_groups[0]["momentum"] = 0.9


def test_groups_read_like_dicts() -> None:
    group = optim.SGD([Parameter([1.0])], lr=0.1).param_groups[0]
    assert "lr" in group
    assert group["lr"] == group.lr == 0.1
    assert "ParamGroup(1 parameters, lr=0.1, momentum=0.0" in repr(group)
    with pytest.raises(ArgumentError, match=r"no setting 'lrr'.*did you mean 'lr'"):
        group["lrr"]


def _set_rate(snapshot: Any) -> None:
    snapshot["param_groups"][0].update(lr=-5.0)


def _set_amsgrad(snapshot: Any) -> None:
    snapshot["param_groups"][0].update(lr=0.9, betas=(0.1, 0.1), amsgrad=True)


def _set_betas(snapshot: Any) -> None:
    snapshot["param_groups"][0].update(betas=[0.1])


def _reshape_state(snapshot: Any) -> None:
    snapshot["param_groups"][0].update(lr=0.9)
    snapshot["state"][0]["exp_avg"] = np.ones(7)


def _drop_groups(snapshot: Any) -> None:
    del snapshot["param_groups"]


@pytest.mark.parametrize(
    "spoil", [_set_rate, _set_amsgrad, _set_betas, _reshape_state, _drop_groups]
)
def test_a_snapshot_that_does_not_fit_changes_nothing(spoil: Any) -> None:
    p = Parameter(np.ones(2))
    optimizer = optim.Adam([p], lr=0.1)
    snapshot = optimizer.state_dict()
    spoil(snapshot)
    p.grad = Tensor(np.ones(2))
    optimizer.step()
    with pytest.raises((ArgumentError, ShapeError)):
        optimizer.load_state_dict(snapshot)
    (group,) = optimizer.param_groups
    assert (group.lr, group.betas) == (0.1, (0.9, 0.999))  # type: ignore[attr-defined]  # Adam's
    assert optimizer.state_dict()["state"][0]["step"].item() == 1.0


@pytest.mark.parametrize("snapshot", [{}, [], None, {"state": [], "param_groups": []}], ids=str)
def test_what_is_no_snapshot(snapshot: Any) -> None:
    with pytest.raises(ArgumentError, match=r"a snapshot has `state`.*Fix: pass a state_dict"):
        optim.SGD([Parameter([1.0])]).load_state_dict(snapshot)


def test_momentum_from_a_snapshot_without_steps_goes_on() -> None:
    """PyTorch's SGD saves no step: with dampening, the first direction is the gradient itself."""
    p = Parameter(np.ones(2))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.5)
    snapshot = optimizer.state_dict()
    snapshot["state"] = {0: {"momentum_buffer": np.full(2, 3.0)}}
    optimizer.load_state_dict(snapshot)
    p.grad = Tensor(np.ones(2))
    optimizer.step()
    np.testing.assert_allclose(p.numpy(), 1.0 - 0.1 * (0.9 * 3.0 + 0.5 * 1.0))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (optim.Adam, {"betas": (0.9,)}),
        (optim.Adam, {"betas": 0.9}),
        (optim.Adagrad, {"initial_accumulator_value": -1.0}),
    ],
)
def test_settings_that_make_no_sense(kind: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(settings))):
        kind([Parameter([1.0])], **settings)
