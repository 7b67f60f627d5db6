"""Derivatives of functions: grad, value_and_grad, vjp, jvp."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid import ops
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.reverse import backward
from pellucid.core.errors import ArgumentError, GradientError, ShapeError
from pellucid.graph.ir import Graph, GraphBuilder, inline
from pellucid.tensor.dispatch import run_program
from pellucid.tensor.program import program_for
from pellucid.tensor.recording import (
    TENSOR,
    Fn,
    Recorded,
    as_tensor,
    commit,
    differentiable,
    positions,
    record_function,
    run_graph,
)
from pellucid.tensor.tensor import Tensor, full
from pellucid.tensor.tree import TreeDef, flatten, leaf_names, unflatten


@dataclass(frozen=True, slots=True)
class _Selected:
    """Positional arguments split into the leaves to differentiate and everything else."""

    leaves: list[Tensor]
    treedef: TreeDef
    rebuild: Callable[[list[Tensor]], Any]


def _select(
    op: str, fn: Fn, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Any
) -> _Selected:
    places = positions(op, argnums, len(args))
    chosen = args[places[0]] if isinstance(argnums, int) else tuple(args[p] for p in places)
    leaves, treedef = flatten(chosen)
    names = leaf_names(chosen, "argument")
    tensors = [differentiable(op, n, leaf) for n, leaf in zip(names, leaves, strict=True)]

    def rebuild(values: list[Tensor]) -> Any:
        new = unflatten(treedef, values)
        full_args = list(args)
        for p, v in zip(places, (new,) if isinstance(argnums, int) else new, strict=True):
            full_args[p] = v
        return fn(*full_args, **kwargs)

    return _Selected(tensors, treedef, rebuild)


def value_and_grad(fn: Fn, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Fn:
    """A function that returns `fn`'s value and the gradient with respect to some of its arguments.

    Args:
        fn: returns one float with one element; with `has_aux`, a pair of that and anything else.
        argnums: which positional arguments to differentiate; nested containers of tensors are fine.
        has_aux: `fn` returns `(value, aux)`; the result is then `((value, aux), gradient)`.

    Returns:
        The new function. The gradient has the structure, shapes and dtypes of the chosen arguments.

    Raises:
        GradientError: (when called) an argument or the value is no float, or the value is no
            scalar.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        selected = _select("grad", fn, args, kwargs, argnums)
        recorded = record_function(
            fn, selected.leaves, selected.rebuild, [t.type for t in selected.leaves]
        )
        _check_scalar(recorded, has_aux)
        graph = _gradient_graph(recorded.traced.graph, len(selected.leaves))
        outputs = run_graph(graph, recorded.inputs)
        results, rest = outputs[: recorded.traced.results], outputs[recorded.traced.results :]
        written = len(recorded.traced.writes)
        commit(recorded.traced, rest[:written])
        grads = rest[written:]
        return recorded.build(results), unflatten(selected.treedef, grads)

    return wrapped


def _check_scalar(recorded: Recorded, has_aux: bool) -> None:
    """That the function returned one float with one element, or with `has_aux` a pair with it."""
    pair = has_aux and recorded.result.kind is tuple and len(recorded.result.children) == 2
    scalar = recorded.result.children[0] if pair else recorded.result
    if has_aux and not pair:
        raise GradientError(
            "grad", "with has_aux the function must return (value, aux)", fix="return a pair"
        )
    if scalar.kind is not None or recorded.leaves[0] is not TENSOR:
        it = type(recorded.leaves[0]).__name__ if scalar.kind is None else scalar.kind.__name__
        raise GradientError(
            "grad", "the function must return one tensor", operands={"result": it},
            fix="return the scalar alone, or (value, aux) with has_aux=True",
        )  # fmt: skip
    value = recorded.traced.graph.outputs[0]
    if value.dtype.is_complex:
        rule = "the function must return a real number: a complex one has no slope"
        fix = "take its abs, real or imag part, or use vjp"
        raise GradientError("grad", rule, operands={"value": value.type}, fix=fix)
    if value.type.size != 1 or not value.dtype.is_float:
        raise GradientError(
            "grad",
            "the function must return one floating-point element",
            operands={"value": value.type},
            fix="reduce with .sum() or .mean(), or use jacrev",
        )


def _gradient_graph(graph: Graph, count: int) -> Graph:
    """`graph` with the gradients of its first output for the first `count` inputs appended."""
    with GraphBuilder(f"grad_{graph.name}") as builder:
        inputs = [builder.input(v.type, v.name) for v in graph.inputs]
        outputs = inline(graph, inputs)
        seed = ops.ones_like(outputs[0])
        seeds = [seed] + [None] * (len(outputs) - 1)
        found = backward(list(builder.nodes), outputs, seeds, inputs[:count])
        grads = [ops.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=False)]
    return builder.finish([*outputs, *grads])


def grad(fn: Fn, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Fn:
    """A function that returns the gradient of `fn`; with `has_aux`, a pair of gradient and aux.

    See `value_and_grad` for the arguments and errors.
    """
    both = value_and_grad(fn, argnums, has_aux)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(fn: Fn, *primals: Any) -> tuple[Any, Fn]:
    """`fn(*primals)`, and a function from a cotangent of the result to gradients of the primals.

    Source: the reverse-mode accumulation of Linnainmaa (1970), on the recorded graph.
    """
    leaves, treedef = flatten(tuple(primals))
    tensors = [as_tensor(leaf) for leaf in leaves]

    def call(values: list[Tensor]) -> Any:
        return fn(*unflatten(treedef, values))

    recorded = record_function(fn, tensors, call, [t.type for t in tensors])
    inputs = recorded.inputs
    outputs = run_graph(recorded.traced.graph, inputs)
    commit(recorded.traced, outputs[recorded.traced.results :])
    results = outputs[: recorded.traced.results]
    wrt = tuple(i for i, t in enumerate(tensors) if t.dtype.is_inexact)
    program = program_for(recorded.traced.graph).vjp(wrt)

    def pull(cotangent: Any) -> Any:
        given, given_def = flatten(cotangent)
        if given_def != recorded.result:
            raise ArgumentError("vjp", "the cotangent's structure differs from the result's")
        chosen = [g for g, leaf in zip(given, recorded.leaves, strict=True) if leaf is TENSOR]
        seeds = _cotangents(chosen, results, outputs)
        found = run_program(program, [*inputs, *outputs, *seeds])
        grads: list[Any] = [None] * len(tensors)
        for i, g in zip(wrt, found, strict=True):
            grads[i] = g
        return unflatten(treedef, grads)

    return recorded.build(results), pull


def _cotangents(
    given: list[Any], results: Sequence[Tensor], outputs: Sequence[Tensor]
) -> list[Tensor]:
    """One cotangent per float output of the graph: those given, and zeros for changed state."""
    seeds: list[Tensor] = []
    for i, output in enumerate(outputs):
        if not output.dtype.is_inexact:
            continue
        seed = as_tensor(given[i]) if i < len(results) else full(output.shape, 0.0, output.dtype)
        if seed.shape != output.shape:
            raise ShapeError(
                "vjp",
                "the cotangent must have the result's shape",
                operands={"cotangent": seed.shape, "result": output.shape},
            )
        seeds.append(seed if seed.dtype == output.dtype else seed.astype(output.dtype))
    return seeds


def jvp(fn: Fn, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """`fn(*primals)` and its directional derivative along `tangents`, in one forward pass.

    Args:
        fn: any function of tensors.
        primals: its arguments.
        tangents: one per primal, of its structure, shape and dtype.

    Raises:
        ArgumentError: primals and tangents differ in structure.
        ShapeError: a tangent has not its primal's shape.
    """
    if not (isinstance(primals, (tuple, list)) and isinstance(tangents, (tuple, list))):
        raise ArgumentError("jvp", "primals and tangents are tuples, one item per argument")
    leaves, treedef = flatten(tuple(primals))
    directions, tangent_def = flatten(tuple(tangents))
    if treedef != tangent_def:
        raise ArgumentError("jvp", "primals and tangents must have the same structure")
    boxes = [as_tensor(leaf) for leaf in leaves]
    moves = [as_tensor(d).astype(b.dtype) for b, d in zip(boxes, directions, strict=True)]
    for box, move in zip(boxes, moves, strict=True):
        if box.shape != move.shape:
            raise ShapeError(
                "jvp",
                "a tangent must have its primal's shape",
                operands={"primal": box.shape, "tangent": move.shape},
            )

    def call(values: list[Tensor]) -> Any:
        return fn(*unflatten(treedef, values))

    recorded = record_function(fn, boxes, call, [b.type for b in boxes])
    traced = recorded.traced
    active = tuple(i < len(boxes) and v.dtype.is_inexact for i, v in enumerate(traced.graph.inputs))
    graph = jvp_graph(traced.graph, active)
    wanted = [m for m in moves if m.dtype.is_inexact]
    outputs = run_graph(graph, [*recorded.inputs, *wanted])
    count = len(traced.graph.outputs)
    commit(traced, outputs[traced.results : count])
    floats = [i for i, v in enumerate(traced.graph.outputs) if v.dtype.is_inexact]
    tangent_of = dict(zip(floats, outputs[count:], strict=True))
    results = outputs[: traced.results]
    out_tangents = [tangent_of.get(i, full(r.shape, 0, r.dtype)) for i, r in enumerate(results)]
    return recorded.build(results), recorded.build(out_tangents)
