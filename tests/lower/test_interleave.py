"""Parts of complex numbers stored in turn by the kernel that makes them."""

from __future__ import annotations

import numpy as np

from pellucid import ops
from pellucid.compile import optimize
from pellucid.core.dtype import complex64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.loop.printer import print_kernel
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.lower.program import LoweredProgram
from tests.lower.execution import run_program
from tests.ops.records import agree, fill, trace

Z = TensorType((4, 5), complex64)


def _checked(graph: Graph) -> LoweredProgram:
    """The lowered program, run by the loop interpreter beside the references."""
    program = lower_graph(optimize(graph).graph)
    for call in program.calls:
        verify_kernel(call.kernel)
    rng = np.random.default_rng(3)
    arrays = [fill(v.type, -2, 2, rng) for v in graph.inputs]
    agree(run_program(program, arrays), interpret(graph, *arrays), 5)
    return program


def test_both_parts_are_made_in_one_nest() -> None:
    (call,) = _checked(trace(lambda a, b: ops.add(ops.multiply(a, b), 1 - 2j), Z, Z)).calls
    assert print_kernel(call.kernel) == (
        "kernel mul_sub_add(x0: f32[20, 2], x1: f32[20, 2]) -> (z: f32[20, 1, 2]) {\n"
        "  for i0 in 0..20:\n"
        "    z[i0, 0, 0] = x0[i0, 0] * x1[i0, 0] - x0[i0, 1] * x1[i0, 1] + 1.0\n"
        "    z[i0, 0, 1] = x0[i0, 0] * x1[i0, 1] + x0[i0, 1] * x1[i0, 0] + -2.0\n"
        "}\n"
    )
    assert call.inplace == ()


def test_one_kernel_of_both_parts_and_of_more() -> None:
    def fn(a: Value, b: Value) -> list[Value]:
        quotient = ops.divide(a, ops.add(b, 4))
        return [quotient, ops.conj(quotient), ops.real(quotient)]

    program = _checked(trace(fn, Z, Z))
    assert "interleave" in {c.kernel.name for c in program.calls}  # the real part is read again


def test_parts_of_a_product_of_matrices_are_interleaved_behind_it() -> None:
    square = TensorType((5, 5), complex64)
    program = _checked(trace(ops.matmul, square, square))
    assert program.calls[-1].kernel.name == "interleave"


def test_two_results_of_one_kernel() -> None:
    def fn(a: Value, b: Value) -> list[Value]:
        turned = ops.exp(ops.multiply(a, b))
        return [ops.multiply(turned, 2j), ops.subtract(turned, b)]

    _checked(trace(fn, Z, Z))
    _checked(trace(fn, TensorType((), complex64), TensorType((), complex64)))
    _checked(trace(fn, TensorType((0, 3), complex64), TensorType((0, 3), complex64)))
