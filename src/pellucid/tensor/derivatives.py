"""Derivatives of functions: grad, value_and_grad, vjp, jvp, linearize, linear_transpose."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid import ops
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.linear import transpose_graph
from pellucid.autodiff.partial import halves
from pellucid.autodiff.reverse import backward, value_and_vjp_graph
from pellucid.core.errors import ArgumentError, GradientError, ShapeError
from pellucid.graph.ir import Graph, GraphBuilder, inline
from pellucid.tensor.recording import (
    TENSOR,
    Fn,
    Recorded,
    as_tensor,
    check_function,
    commit,
    differentiable,
    is_array,
    positions,
    record_function,
    run_graph,
)
from pellucid.tensor.tensor import Tensor, full
from pellucid.tensor.tree import TreeDef, flatten, leaf_names, unflatten


@dataclass(frozen=True, slots=True)
class Selected:
    """Positional arguments split into the leaves to differentiate and everything else."""

    leaves: list[Tensor]
    treedef: TreeDef
    rebuild: Callable[[list[Tensor]], Any]


def select(
    op: str, fn: Fn, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Any
) -> Selected:
    """Split positional arguments by `argnums`.

    Raises:
        ArgumentError: `argnums` names no argument, or one twice.
        GradientError: a chosen one has no derivative.
    """
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

    return Selected(tensors, treedef, rebuild)


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
        ArgumentError: `fn` is no function, or `argnums` names no argument.
    """
    check_function("grad", fn)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        selected = select("grad", fn, args, kwargs, argnums)
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
    """A function that returns the gradient of `fn` with respect to some of its arguments.

    Args:
        fn: returns one float with one element; with `has_aux`, a pair of that and anything else.
        argnums: which positional arguments to differentiate: an int, or several.
        has_aux: `fn` returns `(value, aux)`; the result is then `(gradient, aux)`.

    Returns:
        The new function. The gradient has the structure, shapes and dtypes of the chosen argument;
        for several `argnums` it is a tuple of such.

    Raises:
        As `value_and_grad`.
    """
    both = value_and_grad(fn, argnums, has_aux)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


@dataclass(frozen=True, slots=True)
class Primals:
    """Arguments as tensors; what is none stays what it is.

    Attributes:
        leaves: of the arguments.
        treedef: their structure.
        spots: which leaves are tensors.
        tensors: those.
    """

    leaves: list[Any]
    treedef: TreeDef
    spots: list[int]
    tensors: list[Tensor]

    @staticmethod
    def of(args: Sequence[Any]) -> Primals:
        """Read positional arguments."""
        leaves, treedef = flatten(tuple(args))
        spots = [i for i, v in enumerate(leaves) if is_array(v)]
        return Primals(leaves, treedef, spots, [as_tensor(leaves[i]) for i in spots])

    @property
    def floats(self) -> tuple[int, ...]:
        """Which of the tensors have a derivative."""
        return tuple(i for i, t in enumerate(self.tensors) if t.dtype.is_inexact)

    def put(self, values: Sequence[Any], rest: Sequence[Any] | None = None) -> Any:
        """The arguments with these for their tensors."""
        leaves = list(self.leaves if rest is None else rest)
        for i, v in zip(self.spots, values, strict=True):
            leaves[i] = v
        return unflatten(self.treedef, leaves)

    def record(self, op: str, fn: Fn, has_aux: bool) -> Results:
        """Record the function on them.

        Raises:
            ArgumentError: with `has_aux`, it returns no pair.
        """

        def call(values: list[Tensor]) -> Any:
            made = fn(*self.put(values))
            if has_aux and not (isinstance(made, (tuple, list)) and len(made) == 2):
                rule = "with has_aux the function must return (result, aux)"
                raise ArgumentError(op, rule, operands={"it": type(made).__name__})
            return tuple(made) if has_aux else (made,)

        types = [t.type for t in self.tensors]
        return Results(record_function(fn, self.tensors, call, types), has_aux)


@dataclass(frozen=True, slots=True)
class Results:
    """A recorded function that returns `(result,)`, or `(result, aux)` with `has_aux`."""

    recorded: Recorded
    has_aux: bool

    @property
    def treedef(self) -> TreeDef:
        """The structure of the result."""
        return self.recorded.result.children[0]

    @property
    def leaves(self) -> tuple[Any, ...]:
        """The result's leaves, `TENSOR` for each tensor."""
        return self.recorded.leaves[: self.treedef.leaves]

    @property
    def count(self) -> int:
        """How many tensors the result has."""
        return sum(leaf is TENSOR for leaf in self.leaves)

    @property
    def floats(self) -> list[int]:
        """Which of them have a derivative."""
        outputs = self.recorded.traced.graph.outputs[: self.count]
        return [i for i, v in enumerate(outputs) if v.dtype.is_inexact]

    def build(self, values: Sequence[Any]) -> Any:
        """The result with these for its tensors."""
        rest = iter(values)
        return unflatten(self.treedef, [next(rest) if v is TENSOR else v for v in self.leaves])

    def finish(self, outputs: Sequence[Tensor], *more: Any) -> tuple[Any, ...]:
        """What the transform returns, after changes of state: the result, more, aux."""
        traced = self.recorded.traced
        commit(traced, outputs[traced.results : len(traced.graph.outputs)])
        result, *aux = self.recorded.build(outputs[: traced.results])
        return (result, *more, *aux)


def vjp(fn: Fn, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`fn(*primals)`, and a function from a cotangent of the result to gradients of the primals.

    The function runs once, now; each cotangent runs the backward part only.

    Args:
        fn: any function of tensors.
        primals: its arguments; containers of tensors are fine.
        has_aux: `fn` returns `(result, aux)`; then the third item is `aux`.

    Returns:
        The result, and the function. It takes a cotangent built like the result (`None` for what
        is not float), and returns a tuple of gradients, one per primal.

    Source: the reverse-mode accumulation of Linnainmaa (1970), on the recorded graph.
    """
    given = Primals.of(primals)
    made = given.record("vjp", fn, has_aux)
    graph, seeded = made.recorded.traced.graph, made.floats
    whole = value_and_vjp_graph(graph, given.floats, seeded)
    inputs, outputs = len(graph.inputs), len(graph.outputs)
    parts = halves(whole, range(inputs, len(whole.inputs)), range(outputs, len(whole.outputs)))
    boxes = made.recorded.inputs
    found = run_graph(parts.first, boxes)
    kept = [*(boxes[i] for i in parts.reads), *found[outputs:]]
    results = found[: made.count]

    def pull(cotangent: Any) -> Any:
        seeds = _cotangents(cotangent, made, results)
        grads: list[Any] = [None] * len(given.tensors)
        for i, g in zip(given.floats, run_graph(parts.second, [*kept, *seeds]), strict=True):
            grads[i] = g
        return given.put(grads, [None] * len(given.leaves))

    return made.finish(found, pull)


def _cotangents(cotangent: Any, made: Results, results: Sequence[Tensor]) -> list[Tensor]:
    """One cotangent per float tensor of the result."""
    leaves, treedef = flatten(cotangent)
    if treedef != made.treedef:
        raise ArgumentError(
            "vjp",
            "the cotangent's structure differs from the result's",
            operands={"cotangent": str(treedef), "result": str(made.treedef)},
        )
    given = [c for c, leaf in zip(leaves, made.leaves, strict=True) if leaf is TENSOR]
    seeds: list[Tensor] = []
    for i in made.floats:
        seed, result = as_tensor(given[i]), results[i]
        if seed.shape != result.shape:
            raise ShapeError(
                "vjp",
                "the cotangent must have the result's shape",
                operands={"cotangent": seed.shape, "result": result.shape},
            )
        seeds.append(seed if seed.dtype == result.dtype else seed.astype(result.dtype))
    return seeds


def jvp(
    fn: Fn, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """`fn(*primals)` and its directional derivative along `tangents`, in one forward pass.

    Args:
        fn: any function of tensors.
        primals: its arguments.
        tangents: one per primal, of its structure, shape and dtype; of integers it is not read.
        has_aux: `fn` returns `(result, aux)`; then the third item is `aux`.

    Raises:
        ArgumentError: primals and tangents differ in structure.
        ShapeError: a tangent has not its primal's shape.
    """
    if not (isinstance(primals, (tuple, list)) and isinstance(tangents, (tuple, list))):
        raise ArgumentError("jvp", "primals and tangents are tuples, one item per argument")
    given = Primals.of(primals)
    moves = directions("jvp", given, tangents)
    made = given.record("jvp", fn, has_aux)
    graph = _pushed(made, given)
    outputs = run_graph(graph, [*made.recorded.inputs, *moves])
    count = len(made.recorded.traced.graph.outputs)
    return made.finish(outputs, _tangents(made, outputs, outputs[count:]))


def directions(op: str, given: Primals, tangents: Sequence[Any]) -> list[Tensor]:
    """One tangent per float tensor among the arguments.

    Raises:
        ArgumentError: primals and tangents differ in structure.
        ShapeError: a tangent has not its primal's shape.
    """
    leaves, treedef = flatten(tuple(tangents))
    if treedef != given.treedef:
        raise ArgumentError(op, "primals and tangents must have the same structure")
    found = []
    for i in given.floats:
        primal, move = given.tensors[i], as_tensor(leaves[given.spots[i]])
        if primal.shape != move.shape:
            raise ShapeError(
                op,
                "a tangent must have its primal's shape",
                operands={"primal": primal.shape, "tangent": move.shape},
            )
        found.append(move if move.dtype == primal.dtype else move.astype(primal.dtype))
    return found


def _pushed(made: Results, given: Primals) -> Graph:
    """The function's graph with tangents: `inputs..., tangents... -> outputs..., tangents...`."""
    graph = made.recorded.traced.graph
    floats = {*given.floats}
    return jvp_graph(graph, [i in floats for i in range(len(graph.inputs))])


def _tangents(made: Results, results: Sequence[Tensor], moved: Sequence[Tensor]) -> Any:
    """Tangents built like the result: zeros for integers."""
    found = iter(moved)
    floats = {*made.floats}
    return made.build(
        [
            next(found) if i in floats else full(r.shape, 0, r.dtype)
            for i, r in enumerate(results[: made.count])
        ]
    )


def linearize(fn: Fn, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`fn(*primals)`, and its derivative there as a function of tangents.

    The function runs once, now; each direction runs the linear part only. For one direction `jvp`
    does the same work in one run.

    Args:
        fn: any function of tensors.
        primals: its arguments.
        has_aux: `fn` returns `(result, aux)`; then the third item is `aux`.

    Returns:
        The result, and a function that takes one tangent per primal and returns the result's.
    """
    given = Primals.of(primals)
    made = given.record("linearize", fn, has_aux)
    whole, graph = _pushed(made, given), made.recorded.traced.graph
    inputs, outputs = len(graph.inputs), len(graph.outputs)
    parts = halves(whole, range(inputs, len(whole.inputs)), range(outputs, len(whole.outputs)))
    boxes = made.recorded.inputs
    found = run_graph(parts.first, boxes)
    kept = [*(boxes[i] for i in parts.reads), *found[outputs:]]

    def push(*tangents: Any) -> Any:
        moves = directions("linearize", given, tangents)
        return _tangents(made, found, run_graph(parts.second, [*kept, *moves]))

    return made.finish(found, push)


def linear_transpose(fn: Fn, *primals: Any) -> Fn:
    """The transpose of a linear function, from a cotangent of its result to one per argument.

    Args:
        fn: linear in all its arguments together; of their values only the types matter.
        primals: tensors of the arguments' types.

    Raises:
        GradientError: the function is not linear.
    """
    given = Primals.of(primals)
    made = given.record("linear_transpose", fn, False)
    back = transpose_graph(made.recorded.traced.graph, given.floats)
    if back is None:
        raise GradientError(
            "linear_transpose", "the function is not linear in its arguments", fix="use vjp"
        )
    held = [b for i, b in enumerate(made.recorded.inputs) if i not in given.floats]
    outputs = made.recorded.traced.graph.outputs[: made.count]
    results = [full(v.shape, 0, v.dtype) for v in outputs]

    def pull(cotangent: Any) -> Any:
        grads: list[Any] = [None] * len(given.tensors)
        found = run_graph(back, [*held, *_cotangents(cotangent, made, results)])
        for i, g in zip(given.floats, found, strict=True):
            grads[i] = g
        return given.put(grads, [None] * len(given.leaves))

    return pull
