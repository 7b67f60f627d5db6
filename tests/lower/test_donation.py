"""Outputs take over inputs' memory only where no reader of the old contents is left."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pellucid.core.dtype import float32, int32
from pellucid.core.errors import ArgumentError
from pellucid.graph.ir import TensorType
from pellucid.graph.op import Cost
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Buffer, Call, Const, For, Kernel, Load, Store, Var
from pellucid.lower.donation import donate_inputs
from pellucid.lower.program import BufferSlot, KernelCall, LoweredProgram, Role

T = TensorType((4,), float32)


def call(a: int, b: int, out: int, *, inplace: bool = True, flip: bool = False) -> KernelCall:
    """`out[i] = a[i] + 2 b[i]`, or `b` read backwards."""
    x, y, z = (Buffer(n, (4,), float32) for n in "xyz")
    i = Var("i")
    j = Call("sub", (Const(3), i), i.dtype) if flip else i
    twice = Call("mul", (Load(y, (j,)), Const(2.0, float32)), float32)
    body = Store(z, (i,), Call("add", (Load(x, (i,)), twice), float32))
    pairs = ((2, 0), (2, 1)) if inplace and not flip else ((2, 0),) if inplace else ()
    kernel = Kernel("f", (x, y, z), 1, (For("i", Const(4), (body,)),))
    return KernelCall(
        kernel=kernel, args=(a, b, out), nodes=(), sources=(), cost=Cost(1, 1), inplace=pairs
    )


def program(roles: str, calls: list[KernelCall], outputs: tuple[int, ...]) -> LoweredProgram:
    names: Mapping[str, Role] = {"i": "input", "o": "output", "t": "temp"}
    slots = tuple(BufferSlot(id=k, type=T, role=names[r]) for k, r in enumerate(roles))
    inputs = tuple(k for k, r in enumerate(roles) if r == "i")
    return LoweredProgram(name="p", slots=slots, steps=tuple(calls), inputs=inputs, outputs=outputs)


def run(lowered: LoweredProgram, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    memory = [np.full(4, np.nan, np.float32) for _ in lowered.slots]
    for slot, array in zip(lowered.inputs, arrays, strict=True):
        memory[slot] = array.copy()
    for one in lowered.calls:
        run_kernel(one.kernel, *(memory[s] for s in one.args))
    return [memory[s] for s in lowered.outputs]


def same_results(lowered: LoweredProgram, pairs: Mapping[int, int]) -> LoweredProgram:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(4).astype(np.float32) for _ in lowered.inputs]
    donated = donate_inputs(lowered, pairs)
    for a, b in zip(run(lowered, arrays), run(donated, arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    for o, i in pairs.items():
        assert donated.outputs[o] == donated.inputs[i]
    return donated


def test_an_update_writes_its_state_in_place() -> None:
    donated = same_results(program("iio", [call(0, 1, 2)], (2,)), {0: 0})
    assert [c.args for c in donated.calls] == [(0, 1, 0)]
    assert donated.slots[2].type.nbytes == 0


def test_a_later_reader_moves_the_update_behind_it() -> None:
    # the update of slot 0 is made first, then the old slot 0 is read
    lowered = program("iioo", [call(0, 1, 2), call(1, 0, 3)], (2, 3))
    donated = same_results(lowered, {0: 0})
    assert [c.args for c in donated.calls] == [(1, 0, 3), (0, 1, 0)]


def test_a_reader_that_needs_the_new_value_forces_a_copy() -> None:
    lowered = program("iioo", [call(0, 1, 2), call(0, 2, 3)], (2, 3))
    donated = same_results(lowered, {0: 0})
    assert [c.kernel.name for c in donated.calls] == ["f", "f", "copy"]
    assert donated.slots[2].role == "temp"


def test_a_kernel_that_reads_elsewhere_forces_a_copy() -> None:
    lowered = program("iio", [call(0, 1, 2, flip=True)], (2,))
    assert len(same_results(lowered, {0: 1}).calls) == 2
    assert len(same_results(lowered, {0: 0}).calls) == 1


def test_two_states_that_swap() -> None:
    lowered = program("iioo", [call(1, 1, 2), call(0, 0, 3)], (2, 3))
    same_results(lowered, {0: 0, 1: 1})


def test_an_output_read_again_is_renamed_everywhere() -> None:
    lowered = program("iioo", [call(0, 1, 2), call(2, 1, 3)], (2, 3))
    donated = same_results(lowered, {0: 0})
    assert [c.args for c in donated.calls] == [(0, 1, 0), (0, 1, 3)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_random_programs_keep_their_results(data: st.DataObject) -> None:
    states, steps = 3, data.draw(st.integers(3, 7))
    roles, calls = "i" * states, []
    for k in range(steps):
        known = st.integers(0, states + k - 1)
        flags = data.draw(st.booleans()), data.draw(st.booleans())
        calls.append(
            call(data.draw(known), data.draw(known), states + k, inplace=flags[0], flip=flags[1])
        )
        roles += "o" if k >= steps - 3 else "t"
    outputs = tuple(range(states + steps - 3, states + steps))
    order = data.draw(st.sampled_from(list(itertools.permutations(range(3)))))
    count = data.draw(st.integers(1, 3))
    same_results(program(roles, calls, outputs), dict(list(enumerate(order))[:count]))


@pytest.mark.parametrize(
    ("pairs", "text"),
    [({0: 2}, "has 2 inputs"), ({1: 0}, "1 outputs"), ({0: -1}, "has 2 inputs")],
)
def test_positions_out_of_range_are_refused(pairs: dict[int, int], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        donate_inputs(program("iio", [call(0, 1, 2)], (2,)), pairs)


def test_an_input_is_given_away_once() -> None:
    lowered = program("iioo", [call(0, 1, 2), call(0, 1, 3)], (2, 3))
    with pytest.raises(ArgumentError, match="given away once"):
        donate_inputs(lowered, {0: 0, 1: 0})


def test_types_must_agree() -> None:
    lowered = program("iio", [call(0, 1, 2)], (2,))
    other = BufferSlot(id=0, type=TensorType((4,), int32), role="input")
    wrong = LoweredProgram(
        name="p",
        slots=(other, *lowered.slots[1:]),
        steps=lowered.steps,
        inputs=lowered.inputs,
        outputs=lowered.outputs,
    )
    with pytest.raises(ArgumentError, match=r"input of its own type, got output 0 f32\[4\]"):
        donate_inputs(wrong, {0: 0})
