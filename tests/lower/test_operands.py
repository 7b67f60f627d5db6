"""An array multiplied by itself is two operands."""

from __future__ import annotations

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import TensorType
from pellucid.loop.parser import parse_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.lower.operands import separate_operands
from tests.lower.execution import agree, build, random_arrays, run_program


def test_gram_matrix_reads_one_slot_twice() -> None:
    graph = build(lambda x: ops.matmul(x, x), TensorType((5, 5), float32))
    program = lower_graph(graph)
    (call,) = program.calls
    assert [b.name for b in call.kernel.params] == ["x0", "x0b", "y0"]
    assert call.args[0] == call.args[1]
    arrays = random_arrays(graph)
    agree(run_program(program, arrays), interpret(graph, *arrays))


def test_squares_stay() -> None:
    text = (
        "kernel k(x: f32[4]) -> (y: f32[]) {\n  y[] = 0.0\n  for i in 0..4:\n"
        "    y[] = y[] + x[i] * x[i]\n}\n"
    )
    kernel = parse_kernel(text)
    assert separate_operands(kernel) == (kernel, ())
