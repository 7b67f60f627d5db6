"""What follows from a stored value element by element is computed again, not stored as well."""

from __future__ import annotations

from pellucid import ops
from pellucid.autodiff.reverse import backward
from pellucid.core.dtype import float32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.graph.parser import parse_graph
from pellucid.graph.verifier import verify
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.catalogue import CATALOGUE
from pellucid.passes import eliminate_common_subexpressions, group_fusion
from tests.lower.execution import agree, random_arrays, run_program


def f(*shape: int) -> TensorType:
    return TensorType(shape, float32)


def gradients(rows: int, *, keep: bool = False) -> Graph:
    """The gradients of a sum of `gelu(x @ w) @ u`, as a training step has them."""
    with GraphBuilder("step") as builder:
        x, w, u = (builder.input(t) for t in (f(rows, 8), f(8, 64), f(64, 8)))
        hidden = ops.gelu(ops.matmul(x, w))
        out = ops.matmul(hidden, u)
        found = backward(builder.nodes, [out], [out], [w, u])
        results = [v for v in found if v is not None]
        graph = builder.finish([*results, hidden] if keep else results)
    return eliminate_common_subexpressions.run(graph)


def stored(graph: Graph, *, shape: tuple[int, ...]) -> list[str]:
    """The values of a shape that the fused program writes to memory."""
    nodes = [n for n in graph.nodes if n.op.name not in ("constant", "broadcast_to")]
    return [v.name for n in nodes for v in n.outputs if v.shape == shape]


def checked(graph: Graph) -> Graph:
    after = group_fusion.run(graph)
    verify(after)
    arrays = random_arrays(graph)
    want = interpret(graph, *arrays)
    agree(interpret(after, *arrays), want)
    return after


def test_a_large_gelu_is_stored_as_its_argument_and_its_result() -> None:
    after = checked(gradients(2048))
    assert len(stored(after, shape=(2048, 64))) == 3  # argument, result, the argument's gradient


def test_in_the_second_level_cache_dear_functions_are_stored() -> None:
    assert len(stored(checked(gradients(32)), shape=(32, 64))) > 3


def test_a_choice_that_changes_nothing_ends_the_search() -> None:
    graph = parse_graph("""
    graph f(t: f32[7, 3]) {
      two: f32[] = constant(value=array(f32[], [2.0]))
      twos: f32[7, 3] = broadcast_to(two, shape=(7, 3))
      y: f32[7, 3] = mul(t, twos)
      one: f32[] = constant(value=array(f32[], [1.0]))
      ones: f32[7, 7] = broadcast_to(one, shape=(7, 7))
      left: f32[7, 3] = dot_general(ones, y, contract=((1,), (0,)), batch=((), ()))
      right: f32[7, 3] = dot_general(ones, y, contract=((0,), (0,)), batch=((), ()))
      both: f32[7, 3] = add(left, right)
      least: bool[7, 3] = eq(y, y)
      share: f32[7, 3] = cast(least, dtype=f32)
      part: f32[7, 3] = div(share, share)
      found: f32[7, 3] = mul(both, part)
      result: f32[7, 3] = mul(found, twos)
      return result
    }
    """, CATALOGUE)  # fmt: skip
    checked(graph)


def test_what_is_returned_stays_stored() -> None:
    graph = gradients(2048, keep=True)
    after = checked(graph)
    assert graph.outputs[-1].shape in [v.shape for v in after.outputs]


def test_the_small_program_runs_to_the_same_results() -> None:
    graph = gradients(3)
    arrays = random_arrays(graph)
    program = lower_graph(group_fusion.run(graph))
    agree(run_program(program, arrays), interpret(graph, *arrays), 1e-4)
