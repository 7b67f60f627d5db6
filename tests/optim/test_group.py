"""Every parameter counts its own steps, in as few cells as tell them apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pellucid import optim
from pellucid.tensor.guards import note_edit
from pellucid.tensor.jit import jit
from pellucid.tensor.tensor import Parameter, Tensor

HOW: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    ("Adam", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.3}),
    ("RMSprop", {"lr": 0.1}),
]
SKIPPING: list[Callable[[int], tuple[bool, bool, bool]]] = [
    lambda i: (True, i >= 4, True),
    lambda i: (True, i % 3 == 1, i % 2 == 0),
    lambda i: (i < 2, i >= 2, i > 4),
    lambda i: (False, i > 0, False),
]


def loss_of(params: list[Any], used: tuple[bool, ...]) -> Any:
    return sum((p * p * p).sum() for p, use in zip(params, used, strict=True) if use)


def train(name: str, how: dict[str, Any], skip: Any, jitted: bool) -> list[list[float]]:
    params = [Parameter([1.0, 2.0]) for _ in range(3)]
    optimizer = getattr(optim, name)(params, **how)

    def step(used: tuple[bool, ...]) -> None:
        optimizer.zero_grad()
        if any(used):
            loss_of(params, used).backward()
        optimizer.step()

    run = jit(step, static_argnames=["used"]) if jitted else step
    for i in range(6):
        run(used=skip(i))
    return [p.tolist() for p in params]


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("skip", SKIPPING)
@pytest.mark.parametrize(("name", "how"), HOW)
def test_parameters_that_are_left_out_now_and_then(
    name: str, how: dict[str, Any], skip: Any, jitted: bool
) -> None:
    torch: Any = pytest.importorskip("torch")
    params = [torch.nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(3)]
    optimizer = getattr(torch.optim, name)(params, **how)
    for i in range(6):
        optimizer.zero_grad()
        if any(skip(i)):
            loss_of(params, skip(i)).backward()
        optimizer.step()
    expected = [p.detach().numpy() for p in params]
    np.testing.assert_allclose(train(name, how, skip, jitted), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("jitted", [False, True])
def test_first_step_of_adam_is_a_full_one_however_late(jitted: bool) -> None:
    late = train("Adam", {"lr": 0.1}, lambda i: (True, i == 5, False), jitted)
    np.testing.assert_allclose(late[1], [0.9, 1.9], rtol=1e-6)
    assert late[2] == [1.0, 2.0]


def trainer(params: list[Parameter]) -> tuple[optim.Adam, Any]:
    optimizer = optim.Adam(params, lr=0.1)

    def step(used: tuple[bool, ...]) -> None:
        optimizer.zero_grad()
        loss_of(params, used).backward()
        optimizer.step()

    return optimizer, jit(step, static_argnames=["used"])


def test_one_count_serves_parameters_that_keep_step() -> None:
    params = [Parameter([1.0]) for _ in range(4)]
    optimizer, step = trainer(params)
    for _ in range(3):
        step(used=(True,) * 4)
    group = optimizer.param_groups[0]
    assert {group.step_of(p) for p in params} == {group.step_cell}
    assert "compiled 1 time" in step.explain()
    assert step.explain().count("state value of step") == 1


def test_frozen_parameters_cost_one_count_and_no_compilation() -> None:
    params = [Parameter([1.0]) for _ in range(4)]
    optimizer, step = trainer(params)
    for _ in range(3):
        step(used=(True, True, False, False))
    group = optimizer.param_groups[0]
    assert "compiled 1 time" in step.explain()
    assert len({group.step_of(p) for p in params}) == 2
    assert [group.step_of(p).item() for p in params] == [3.0, 3.0, 0.0, 0.0]


def test_two_kinds_of_steps_are_two_programs() -> None:
    _, step = trainer([Parameter([1.0]), Parameter([1.0])])
    for _ in range(4):
        step(used=(True, False))
        step(used=(True, True))
    assert "compiled 2 time" in step.explain()


def test_program_made_before_a_parameter_was_left_out_is_made_again() -> None:
    params = [Parameter([1.0]), Parameter([1.0])]
    optimizer, step = trainer(params)
    for used in ((True, True), (True, False), (True, True), (True, False)):
        step(used=used)
    assert [optimizer.param_groups[0].step_of(p).item() for p in params] == [4.0, 2.0]
    assert "compiled 3 time" in step.explain()


def test_left_out_in_the_second_of_two_steps_of_one_program() -> None:
    def run(jitted: bool) -> tuple[list[float], list[float], Any]:
        a, b = Parameter([1.0]), Parameter([1.0])
        optimizer = optim.Adam([a, b], lr=0.1)

        def twice() -> None:
            for used in ((True, True), (True, False)):
                optimizer.zero_grad()
                loss_of([a, b], used).backward()
                optimizer.step()

        made = jit(twice) if jitted else twice
        for _ in range(3):
            made()
        group = optimizer.param_groups[0]
        return [*a.tolist(), *b.tolist()], [group.step_of(p).item() for p in (a, b)], made

    values, counts, _ = run(jitted=False)
    assert counts == [6.0, 3.0]
    jitted_values, jitted_counts, made = run(jitted=True)
    assert jitted_counts == counts
    np.testing.assert_allclose(jitted_values, values, rtol=1e-6)
    assert "compiled 2 time" in made.explain()


def test_program_that_parts_twice_depends_on_the_cells_it_left() -> None:
    params = [Parameter([1.0]) for _ in range(3)]
    optimizer = optim.Adam(params, lr=0.1)

    def moves(*uses: tuple[bool, ...]) -> None:
        for used in uses:
            optimizer.zero_grad()
            loss_of(params, used).backward()
            optimizer.step()

    one_by_one = jit(lambda: moves((True, False, False), (False, True, False)))
    for _ in range(2):
        one_by_one()
    assert "compiled 1 time" in one_by_one.explain()
    group = optimizer.param_groups[0]
    own = dict(group.step_cells)
    group.step_cells.clear()
    note_edit()
    one_by_one()
    assert "ParamGroup.step_cells" in one_by_one.explain()
    assert own.keys() == group.step_cells.keys()


def test_counts_go_through_snapshots() -> None:
    params = [Parameter([1.0]) for _ in range(3)]
    optimizer, step = trainer(params)
    step(used=(True, True, False))
    step(used=(True, False, False))
    snapshot = optimizer.state_dict()
    assert [snapshot["state"][i]["step"].item() for i in range(3)] == [2.0, 1.0, 0.0]
    other = optim.Adam([Parameter([1.0]) for _ in range(3)])
    other.load_state_dict(snapshot)
    group = other.param_groups[0]
    assert [group.step_of(p).item() for p in group.params] == [2.0, 1.0, 0.0]
    other.load_state_dict(optim.Adam([Parameter([1.0]) for _ in range(3)]).state_dict())
    assert [group.step_of(p).item() for p in group.params] == [0.0, 0.0, 0.0]


def test_loading_equal_counts_compiles_nothing_again() -> None:
    params = [Parameter([1.0]) for _ in range(2)]
    optimizer, step = trainer(params)
    step(used=(True, True))
    snapshot = optimizer.state_dict()
    step(used=(True, True))
    optimizer.load_state_dict(snapshot)
    step(used=(True, True))
    assert optimizer.param_groups[0].step_cell.item() == 2.0
    assert "compiled 1 time" in step.explain()


def test_pytorchs_counts_are_those_of_its_parameters() -> None:
    torch: Any = pytest.importorskip("torch")
    theirs = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    peer = torch.optim.Adam(theirs, lr=0.1)
    mine = [Parameter([1.0]) for _ in range(2)]
    optimizer = optim.Adam(mine, lr=0.1)

    def both(used: tuple[bool, bool], ours: bool = True) -> None:
        peer.zero_grad()
        loss_of(theirs, used).backward()
        peer.step()
        if ours:
            optimizer.zero_grad()
            loss_of(mine, used).backward()
            optimizer.step()

    for used in ((True, False), (True, True), (True, True)):
        both(used, ours=False)
    optimizer.load_state_dict(peer.state_dict())
    for p, t in zip(mine, theirs, strict=True):
        p.assign_(Tensor(t.detach().numpy()))
    for used in ((True, True), (False, True)):
        both(used)
    for p, t in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), t.detach().numpy(), rtol=1e-6)
    assert math.isclose(optimizer.state_dict()["state"][1]["step"].item(), 4.0)
