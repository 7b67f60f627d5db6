"""A stored program is the program."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from pellucid import ops
from pellucid.codegen.kernel import Scratch
from pellucid.codegen.llvm import KernelArguments
from pellucid.compile import compile_graph
from pellucid.core.dtype import bfloat16, float32
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.runtime.memory_plan import check_plan
from pellucid.runtime.program import Program, make_program, plan_program
from tests.runtime.programs import chain, config_in, train_step


def with_constant() -> Graph:
    builder = GraphBuilder("with_constant")
    with builder:
        x = builder.input(TensorType((3, 4), float32), "x")
        table = np.arange(12, dtype=np.float32).reshape(3, 4)
        y = ops.add(x, ops.constant(table))
        return builder.finish([ops.astype(y, bfloat16)])


@pytest.mark.parametrize("graph", [train_step(), chain(3, 32), with_constant()])
def test_bytes_and_back(graph: Graph, tmp_path: Path) -> None:
    program = make_program(compile_graph(graph, config=config_in(tmp_path)), 2)
    again = Program.from_bytes(program.to_bytes())
    for name in [f.name for f in fields(Program) if f.name != "constants"]:
        assert getattr(again, name) == getattr(program, name)
    assert list(again.constants) == list(program.constants)
    for slot, array in program.constants.items():
        np.testing.assert_array_equal(again.constants[slot], array)
        assert again.constants[slot].dtype == array.dtype


def test_temporaries_share_an_arena(tmp_path: Path) -> None:
    program = make_program(compile_graph(chain(6, 64), config=config_in(tmp_path)), 2)
    check_plan(program.plan)
    assert program.plan.peak < program.plan.no_reuse
    assert all(r.name for r in program.plan.rectangles)


def test_scratch_memory_grows_with_the_threads(tmp_path: Path) -> None:
    lowered = compile_graph(chain(2, 64), config=config_in(tmp_path)).lowered
    arguments = [
        KernelArguments(symbol="k", slots=c.args, scratch=len(lowered.slots) + k)
        for k, c in enumerate(lowered.calls)
    ]
    sizes = {a.scratch: Scratch(128, 4096) for a in arguments if a.scratch is not None}
    peaks = [plan_program(lowered, arguments, sizes, threads).peak for threads in (1, 2, 8)]
    assert peaks[1] - peaks[0] == 4096
    assert peaks[2] - peaks[0] == 7 * 4096
