"""Running lowered programs by the loop interpreter, for comparison with the graph interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value
from pellucid.loop.compute import CFunction, HostCall
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.lower.flow import Branch, Loop
from pellucid.lower.program import KernelCall, LoweredProgram

Array = NDArray[Any]


def run_program(
    program: LoweredProgram,
    arrays: Sequence[Array],
    schedule: Callable[[Kernel], Kernel] = lambda kernel: kernel,
) -> list[Array]:
    """The program's outputs; every kernel goes through `schedule` first."""
    memory: dict[int, Array] = {}
    for slot in program.slots:
        if slot.role == "constant" and slot.value is not None:
            memory[slot.id] = np.array(slot.value)
        else:
            memory[slot.id] = np.full(slot.type.shape, 77, slot.type.dtype.numpy)
    for slot_id, array in zip(program.inputs, arrays, strict=True):
        memory[slot_id] = np.array(array, order="C")

    def run_call(call: KernelCall) -> None:
        pairs = zip(call.args, call.kernel.params, strict=True)
        views = [memory[s].reshape(-1).view(p.dtype.numpy).reshape(p.shape) for s, p in pairs]
        if call.host is None:
            run_kernel(schedule(call.kernel), *views, seed=3)
        else:
            _call_host(call.host, views, call.kernel.outputs)

    run_steps(program.steps, memory, run_call)
    return [memory[s] for s in program.outputs]


def run_steps(
    steps: Sequence[Any], memory: dict[int, Array], run_call: Callable[[KernelCall], None]
) -> None:
    """Steps as `lower/flow.py` says what they mean; a view's memory is the array it is at."""
    for step in steps:
        if isinstance(step, Branch):
            index = int(np.clip(memory[step.index], 0, len(step.branches) - 1))
            run_steps(step.branches[index], memory, run_call)
        elif isinstance(step, Loop):
            _run_loop(step, memory, run_call)
        else:
            run_call(step)


def _run_loop(loop: Loop, memory: dict[int, Array], run_call: Callable[[KernelCall], None]) -> None:
    most = np.inf if loop.length is None else loop.length
    count = most if loop.count is None else min(int(memory[loop.count]), most)
    for carry in loop.carries:
        memory[carry.read] = memory[carry.start]
    turn = 0
    while turn < count:
        run_steps(loop.cond, memory, run_call)
        if loop.test is not None and not memory[loop.test]:
            break
        row = int(count) - 1 - turn if loop.reverse else turn
        for part in loop.slices:
            rows = memory[part.whole].reshape(loop.length or 1, -1)
            memory[part.part] = rows[row].reshape(memory[part.part].shape)
        for carry in loop.carries:
            memory[carry.written] = np.full_like(memory[carry.end], 77)
        run_steps(loop.body, memory, run_call)
        for carry in loop.carries:
            memory[carry.read] = memory[carry.written]
        turn += 1
    _end_loop(loop, memory, turn)


def _end_loop(loop: Loop, memory: dict[int, Array], turn: int) -> None:
    for carry in loop.carries:
        memory[carry.end][...] = memory[carry.read]
    if loop.steps is not None:
        memory[loop.steps][...] = turn
    for part in loop.slices:
        if part.written and loop.length is not None:
            memory[part.whole][turn:] = 0


def _call_host(host: HostCall, views: Sequence[Array], outputs: int) -> None:
    """The function's results go to the last of the arrays."""
    assert not isinstance(host.run, CFunction)
    inputs = len(views) - outputs
    for view, result in zip(views[inputs:], host.run(views[:inputs]), strict=True):
        np.copyto(view, result)


def build(make: Callable[..., Value | Sequence[Value]], *types: TensorType) -> Graph:
    """The graph of an ops function for some input types."""
    with GraphBuilder("case") as builder:
        made = make(*(builder.input(t) for t in types))
    return builder.finish((made,) if isinstance(made, Value) else tuple(made))


def random_arrays(graph: Graph, seed: int = 0) -> list[Array]:
    """Arrays for a graph's inputs."""
    rng = np.random.default_rng(seed)
    made = []
    for value in graph.inputs:
        dtype = value.dtype
        if dtype.is_float:
            made.append(rng.uniform(-2, 2, value.shape).astype(dtype.numpy))
        else:
            made.append(rng.integers(0, 2, value.shape).astype(dtype.numpy))
    return made


def agree(got: Sequence[Array], want: Sequence[Array], tolerance: float = 1e-5) -> None:
    """Fails unless shapes, dtypes and contents agree."""
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            a.astype(np.float64), b.astype(np.float64), rtol=tolerance, atol=tolerance
        )
