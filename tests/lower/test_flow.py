"""Branches and loops in lowered programs: what runs, what lives how long, what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.compile import compile_graph
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.lower.donation import donate_inputs
from pellucid.lower.flow import (
    Branch,
    Carry,
    Loop,
    Slice,
    from_rows,
    is_endless,
    numbered,
    own_slots,
    spans,
    to_rows,
    turns,
)
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.runtime.executable import Executable
from pellucid.runtime.memory_plan import check_plan
from pellucid.runtime.program import Program, make_program
from tests.autodiff.numeric import fill
from tests.autodiff.test_control import PAIRS
from tests.lower.execution import agree, run_program
from tests.runtime.programs import config_in

GRAPHS: dict[str, Graph] = {}
for _name, (_graph, _) in PAIRS.items():
    GRAPHS[_name] = _graph
    GRAPHS[f"gradient of {_name}"] = value_and_vjp_graph(_graph, [0, 1])

LOOP = Loop(
    body=(0, Branch(index=5, branches=((1,), (2, 3)))),
    carries=(Carry(start=0, read=1, written=2, end=3, spare=4, nbytes=12),),
    slices=(Slice(whole=6, part=7, stride=4, written=True),),
    length=3,
)
STEPS = (0, LOOP, 5, Loop(body=(6,), carries=(), slices=(), length=None, cond=(7,), test=9))


@pytest.mark.parametrize("name", GRAPHS)
def test_lowered_steps_mean_the_graph(name: str) -> None:
    graph = GRAPHS[name]
    arrays = fill(graph, 0)
    agree(run_program(lower_graph(graph), arrays), list(interpret(graph, *arrays)), 1e-9)
    compiled = compile_graph(graph)
    agree(run_program(compiled.lowered, arrays), list(interpret(graph, *arrays)), 1e-9)
    agree(Executable(compiled).run(arrays), list(interpret(graph, *arrays)), 1e-9)


def test_steps_and_back() -> None:
    steps = numbered(STEPS)
    assert from_rows(json.loads(json.dumps(to_rows(steps)))) == steps


def test_counts() -> None:
    assert list(turns(STEPS)) == [1, 3, 3, 3, 3, 1, 1, 1]
    assert is_endless(STEPS)
    assert not is_endless((LOOP,))
    assert {0, 3, 5, 6, 9} <= set(own_slots(STEPS))


def test_what_a_loop_reads_lives_until_its_last_turn() -> None:
    """Slot 20 is made before the loop, 21 in it; 22 is made in it and read after it."""
    slots = {0: (20,), 1: (20, 21), 2: (21, 22), 3: (23,), 4: (22,)}
    loop = Loop(body=(1, 2, 3), carries=LOOP.carries, slices=(), length=2)
    found = spans((0, loop, 4), lambda call: slots[call])
    assert found[20] == (0, 3)
    assert found[21] == (1, 2)
    assert found[22] == (2, 4)
    assert found[3] == found[4] == (1, 3)


def test_outputs_of_loops_take_over_inputs() -> None:
    graph = PAIRS["scan"][0]
    program = donate_inputs(lower_graph(graph), {0: 1})
    arrays = fill(graph, 0)
    agree(run_program(program, arrays), list(interpret(graph, *arrays)), 1e-9)
    assert program.outputs[0] == program.inputs[1]
    compiled = compile_graph(graph, donate={0: 1})
    given = [a.copy() for a in arrays]
    made = Executable(compiled).run(given)
    assert made[0] is given[1]
    agree(made, list(interpret(graph, *arrays)), 1e-9)


def _products(h: Any, w: Any, v: Any, xs: Any) -> Any:
    """Products with weights that no step changes, that only inner steps leave, and that all do."""

    def step(carry: Any, x: Any) -> Any:
        h, v = carry
        h = pl.scan(lambda c, _: (pl.tanh(pl.tanh(c @ w) @ v), None), h, length=5)[0]
        h = pl.while_loop(lambda c: (c * c).sum() > 1.0, lambda c: (c @ w) * 0.3, h, max_steps=9)
        return (h + x, v * 0.9), None

    return pl.scan(step, (h, v), xs)[0][0]


def test_copies_of_weights_are_made_before_the_loop() -> None:
    rng = np.random.default_rng(0)
    shapes = ((33, 64), (64, 64), (64, 64), (4, 33, 64))
    args = [pl.Tensor(rng.normal(size=s).astype(np.float32) * 0.2) for s in shapes]
    lowered = pl.jit(_products).lower(*args)
    program = lowered.executable.program
    assert program.ahead
    assert Program.from_bytes(program.to_bytes()).ahead == program.ahead
    names = [r.name for r in program.plan.rectangles]
    assert sum(name.startswith("copy for") for name in names) == len(program.ahead)
    check_plan(program.plan)
    arrays = [a.numpy() for a in args]
    expected = interpret(lowered.graph, *arrays)
    agree(lowered.executable.run(arrays), list(expected), 1e-4)
    agree(lowered.executable.run_profiled(arrays)[0], list(expected), 1e-4)
    both = pl.jit(pl.grad(lambda *a: (_products(*a) ** 2).sum(), (0, 1, 2, 3)))
    wanted = interpret(both.lower(*args).graph, *arrays)
    agree([g.numpy() for g in both(*args)], list(wanted), 1e-3)


@pytest.mark.parametrize("name", ["gradient of scan", "while", "second branch"])
def test_stored_programs_have_their_steps(name: str, tmp_path: Path) -> None:
    program = make_program(compile_graph(GRAPHS[name], config=config_in(tmp_path)), 2)
    again = Program.from_bytes(program.to_bytes())
    assert again.flow == program.flow
    assert not all(isinstance(step, int) for step in again.flow)
    np.testing.assert_array_equal(list(again.constants), list(program.constants))
