"""Functions of functions: grad, value_and_grad, vjp, jvp, jacfwd, jacrev, hessian, vmap,
checkpoint.

Each records its function as a graph, changes the graph with `autodiff/`, and runs the result: at
once, or inlined into the graph that is being recorded outside. So they nest in any order, with each
other and with `jit`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.checkpoint import CHECKPOINT
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.reverse import backward
from pellucid.core.dtype import int64
from pellucid.core.errors import ArgumentError, GradientError, ShapeError
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, emit_all, inline
from pellucid.tensor.box import STATE, Box
from pellucid.tensor.dispatch import apply, run_program, settled
from pellucid.tensor.program import program_for
from pellucid.tensor.tensor import Tensor, full
from pellucid.tensor.trace import Capture, Traced, open_trace, write_grad
from pellucid.tensor.tree import TreeDef, flatten, leaf_names, unflatten

Fn = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A function recorded on tensors: what tracing left, and the structure of its result."""

    traced: Traced
    result: TreeDef
    leaves: tuple[Any, ...]
    boxes: tuple[Tensor, ...]

    def build(self, values: Sequence[Any]) -> Any:
        """The function's result, with these at the place of its tensors; the rest as returned."""
        rest = iter(values)
        return unflatten(self.result, [next(rest) if v is _TENSOR else v for v in self.leaves])

    @property
    def inputs(self) -> list[Box]:
        """Arguments, then captured state, as they are now."""
        return [*self.boxes, *(c.read() for c in self.traced.captures)]


_TENSOR = object()  # stands in a result where a tensor was


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (Tensor, np.ndarray, np.generic, bool, int, float))


def as_tensor(value: Any) -> Tensor:
    """A tensor as it is; anything else converted.

    Raises:
        ArgumentError: there is nothing (`None`).
    """
    if value is None:
        raise ArgumentError("tensor", "expected a tensor, got None", fix="return or pass a tensor")
    return settled(value) if isinstance(value, Tensor) else Tensor(value)


def record_function(
    fn: Fn,
    boxes: Sequence[Tensor],
    call: Callable[[list[Tensor]], Any],
    types: Sequence[TensorType],
) -> _Recorded:
    """Record `call` on symbolic tensors of these types."""
    name = getattr(fn, "__name__", "function")
    with open_trace(
        name if name.isidentifier() else "function", "transform", Tensor.plain
    ) as trace:
        args = [trace.argument(t, "x") for t in types]
        leaves, treedef = flatten(call(args))  # type: ignore[arg-type]  # plain makes Tensors
        results = [as_tensor(leaf) for leaf in leaves if _is_array(leaf)]
        traced = trace.finish(results, len(args))
    kept = tuple(_TENSOR if _is_array(leaf) else leaf for leaf in leaves)
    return _Recorded(traced, treedef, kept, tuple(boxes))


def _commit(traced: Traced, outputs: Sequence[Box]) -> None:
    """Carry the state changes of a recorded function out to where it is run."""
    for capture, value in zip(traced.writes, outputs, strict=True):
        if capture.slot == "grad":
            write_grad(capture.box, value)
        else:
            capture.box.assign_(value)  # type: ignore[attr-defined]  # only cells are written
    for box in traced.cleared:
        write_grad(box, None)


def _run_graph(graph: Graph, inputs: Sequence[Box]) -> list[Tensor]:
    return list(run_program(program_for(graph), inputs))  # type: ignore[arg-type]  # tensors by construction


def _positions(op: str, argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in numbers:
        if not isinstance(n, int) or not -count <= n < count:
            raise ArgumentError(
                op,
                f"argnums must name positional arguments, and there are {count}",
                operands={"argnums": repr(argnums)},
            )
    positions = tuple(n % count for n in numbers)
    if len(set(positions)) < len(positions):
        rule = "argnums must name each argument once"
        raise ArgumentError(op, rule, operands={"argnums": repr(argnums)})
    return positions


@dataclass(frozen=True, slots=True)
class _Selected:
    """Positional arguments split into the leaves to differentiate and everything else."""

    leaves: list[Tensor]
    treedef: TreeDef
    rebuild: Callable[[list[Tensor]], Any]


def _select(
    op: str, fn: Fn, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Any
) -> _Selected:
    positions = _positions(op, argnums, len(args))
    chosen = args[positions[0]] if isinstance(argnums, int) else tuple(args[p] for p in positions)
    leaves, treedef = flatten(chosen)
    names = leaf_names(chosen, "argument")
    tensors = [_differentiable(op, n, leaf) for n, leaf in zip(names, leaves, strict=True)]

    def rebuild(values: list[Tensor]) -> Any:
        new = unflatten(treedef, values)
        full_args = list(args)
        for p, v in zip(positions, (new,) if isinstance(argnums, int) else new, strict=True):
            full_args[p] = v
        return fn(*full_args, **kwargs)

    return _Selected(tensors, treedef, rebuild)


def _differentiable(op: str, name: str, leaf: Any) -> Tensor:
    tensor = as_tensor(leaf) if _is_array(leaf) else None
    if tensor is None or not tensor.dtype.is_float:
        raise GradientError(
            op,
            "only floating-point arguments have derivatives",
            operands={name: type(leaf).__name__ if tensor is None else tensor.type},
            fix="convert it with .astype('float32'), or leave it out of argnums",
        )
    return tensor


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
        outputs = _run_graph(graph, recorded.inputs)
        results, rest = outputs[: recorded.traced.results], outputs[recorded.traced.results :]
        written = len(recorded.traced.writes)
        _commit(recorded.traced, rest[:written])
        grads = rest[written:]
        return recorded.build(results), unflatten(selected.treedef, grads)

    return wrapped


def _check_scalar(recorded: _Recorded, has_aux: bool) -> None:
    """That the function returned one float with one element, or with `has_aux` a pair with it."""
    pair = has_aux and recorded.result.kind is tuple and len(recorded.result.children) == 2
    scalar = recorded.result.children[0] if pair else recorded.result
    if has_aux and not pair:
        raise GradientError(
            "grad", "with has_aux the function must return (value, aux)", fix="return a pair"
        )
    if scalar.kind is not None or recorded.leaves[0] is not _TENSOR:
        it = type(recorded.leaves[0]).__name__ if scalar.kind is None else scalar.kind.__name__
        raise GradientError(
            "grad", "the function must return one tensor", operands={"result": it},
            fix="return the scalar alone, or (value, aux) with has_aux=True",
        )  # fmt: skip
    value = recorded.traced.graph.outputs[0]
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
    outputs = _run_graph(recorded.traced.graph, inputs)
    _commit(recorded.traced, outputs[recorded.traced.results :])
    results = outputs[: recorded.traced.results]
    wrt = tuple(i for i, t in enumerate(tensors) if t.dtype.is_float)
    program = program_for(recorded.traced.graph).vjp(wrt)

    def pull(cotangent: Any) -> Any:
        given, given_def = flatten(cotangent)
        if given_def != recorded.result:
            raise ArgumentError("vjp", "the cotangent's structure differs from the result's")
        chosen = [g for g, leaf in zip(given, recorded.leaves, strict=True) if leaf is _TENSOR]
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
        if not output.dtype.is_float:
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
    active = tuple(i < len(boxes) and v.dtype.is_float for i, v in enumerate(traced.graph.inputs))
    graph = jvp_graph(traced.graph, active)
    wanted = [m for m in moves if m.dtype.is_float]
    outputs = _run_graph(graph, [*recorded.inputs, *wanted])
    count = len(traced.graph.outputs)
    _commit(traced, outputs[traced.results : count])
    floats = [i for i, v in enumerate(traced.graph.outputs) if v.dtype.is_float]
    tangent_of = dict(zip(floats, outputs[count:], strict=True))
    results = outputs[: traced.results]
    out_tangents = [tangent_of.get(i, full(r.shape, 0, r.dtype)) for i, r in enumerate(results)]
    return recorded.build(results), recorded.build(out_tangents)


def _standard_basis(x: Tensor) -> Tensor:
    return apply(ops.reshape, apply_eye(x), (x.size, *x.shape))


def apply_eye(x: Tensor) -> Tensor:
    """The identity matrix of `x.size` rows, in `x`'s dtype."""
    zero = apply(ops.zeros_like, x).reshape(-1)
    index = apply(ops.cumulative_sum, apply(ops.astype, zero + 1, int64))
    return (index.unsqueeze(0) == index.unsqueeze(1)).astype(x.dtype)


def _one_argument(op: str, fn: Fn, args: tuple[Any, ...], argnums: int) -> tuple[Tensor, Fn]:
    """The argument a Jacobian is taken for, and `fn` as a function from it to one tensor."""
    (at,) = _positions(op, argnums, len(args))
    x = _differentiable(op, f"argument {at}", args[at])

    def of_x(value: Tensor) -> Tensor:
        result = fn(*args[:at], value, *args[at + 1 :])
        if not _is_array(result):
            raise GradientError(
                op, "the function must return one tensor",
                operands={"result": type(result).__name__},
            )  # fmt: skip
        return as_tensor(result)

    return x, of_x


def jacfwd(fn: Fn, argnums: int = 0) -> Fn:
    """The Jacobian of `fn` (one tensor in `argnums`, one tensor out), column by column in forward
    mode.

    Returns:
        A function with result of shape `output.shape + input.shape`.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any) -> Tensor:
        x, of_x = _one_argument("jacfwd", fn, args, argnums)

        def one(direction: Tensor) -> Any:
            return jvp(of_x, (x,), (direction,))[1]

        columns = vmap(one)(_standard_basis(x))  # [x.size, *output]
        moved = apply(ops.moveaxis, columns, 0, -1)
        return moved.reshape((*moved.shape[:-1], *x.shape))

    return wrapped


def jacrev(fn: Fn, argnums: int = 0) -> Fn:
    """The Jacobian of `fn` (one tensor in `argnums`, one tensor out), row by row in reverse mode.

    Returns:
        A function with result of shape `output.shape + input.shape`.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any) -> Tensor:
        x, of_x = _one_argument("jacrev", fn, args, argnums)
        result, pull = vjp(of_x, x)
        rows = vmap(lambda row: pull(row)[0])(_standard_basis(result))
        return rows.reshape((*result.shape, *x.shape))

    return wrapped


def hessian(fn: Fn, argnums: int = 0) -> Fn:
    """Second derivatives of a scalar function: forward over reverse; shape `input.shape +
    input.shape`.
    """
    return jacfwd(grad(fn, argnums), argnums)


def vmap(fn: Fn, in_axes: Any = 0, out_axes: Any = 0) -> Fn:
    """`fn` over a batch axis of its arguments, as one program without a loop.

    Args:
        fn: written for one example.
        in_axes: which axis of each positional argument is the batch; `None`: not batched. One int
            for all, or one per argument; within a container, one int for it or a container of ints.
        out_axes: where the batch axis goes in every result, likewise.

    Returns:
        The new function. Keyword arguments are shared by all examples.

    Raises:
        ArgumentError: (when called) axes do not fit the structure, or the function writes state.
        ShapeError: (when called) batch sizes differ, or nothing is batched.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given, treedef = flatten(args)
        axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        every = _spread("in_axes", axes, treedef)
        # what is not batched and no array keeps its Python value: flags, names, None
        batched = [
            _is_array(v) and (a is not None or isinstance(v, Tensor))
            for v, a in zip(given, every, strict=True)
        ]
        leaves = [as_tensor(v) for v, b in zip(given, batched, strict=True) if b]
        leaf_axes = [a for a, b in zip(every, batched, strict=True) if b]
        size = _batch_size(leaves, leaf_axes)
        moved = [
            x if a is None else apply(ops.moveaxis, x, a, 0)
            for x, a in zip(leaves, leaf_axes, strict=True)
        ]
        types = [
            x.type if a is None else TensorType(x.shape[1:], x.dtype)
            for x, a in zip(moved, leaf_axes, strict=True)
        ]

        def call(values: list[Tensor]) -> Any:
            rest = iter(values)
            new = [next(rest) if b else v for v, b in zip(given, batched, strict=True)]
            return fn(*unflatten(treedef, new), **kwargs)

        recorded = record_function(fn, moved, call, types)
        traced = recorded.traced
        if any(c.slot == "value" for c in traced.writes) and any(a is not None for a in leaf_axes):
            _refuse_writes(traced.writes)
        flags = (*(a is not None for a in leaf_axes), *(False for _ in traced.captures))
        outputs = _run_graph(batch_graph(traced.graph, flags, size), recorded.inputs)
        places = _spread("out_axes", out_axes, recorded.result)
        kept = [p for p, leaf in zip(places, recorded.leaves, strict=True) if leaf is _TENSOR]
        results = [_placed(r, p) for r, p in zip(outputs[: traced.results], kept, strict=True)]
        return recorded.build(results)

    return wrapped


def _placed(result: Tensor, axis: int | None) -> Tensor:
    if axis is None:
        raise ArgumentError("vmap", "every result has the batch axis", operands={"out_axes": None})
    return apply(ops.moveaxis, result, 0, axis)


def _spread(name: str, axes: Any, tree: TreeDef) -> list[int | None]:
    """One axis per leaf, from an axis for all or a container of them."""
    if axes is None or (isinstance(axes, int) and not isinstance(axes, bool)):
        return [axes] * tree.leaves
    keys = tuple(axes) if isinstance(axes, dict) else ()
    items = [axes[k] for k in tree.keys] if set(keys) == set(tree.keys) and keys else axes
    fits = tree.kind is not None and (bool(keys) == bool(tree.keys))
    if not (fits and isinstance(items, (tuple, list)) and len(items) == len(tree.children)):
        operands = {name: repr(axes), "items": len(tree.children)}
        rule = f"{name} must be an int, None, or a container of them like the one it is for"
        raise ArgumentError("vmap", rule, operands=operands)
    return [a for i, t in zip(items, tree.children, strict=True) for a in _spread(name, i, t)]


def _refuse_writes(writes: Sequence[Capture]) -> None:
    raise ArgumentError(
        "vmap",
        "the function writes state, which would differ between examples",
        operands={"cell": writes[0].box.type},
        fix="return the new value instead, or pass randomness as an argument",
    )


def _batch_size(leaves: Sequence[Tensor], axes: Sequence[int | None]) -> int:
    sizes = {}
    for i, (x, a) in enumerate(zip(leaves, axes, strict=True)):
        if a is not None:
            if not -x.ndim <= a < x.ndim:
                raise ShapeError("vmap", f"argument {i} has no axis {a}", operands={"it": x.type})
            sizes[i] = x.shape[a]
    if len(set(sizes.values())) != 1:
        raise ShapeError(
            "vmap",
            "batch axes must have one common size" if sizes else "no argument is batched",
            operands={f"argument {i}": n for i, n in sizes.items()},
            fix="set in_axes=None for what is shared",
        )
    return next(iter(sizes.values()))


def checkpoint(fn: Fn) -> Fn:
    """`fn`, whose inner values are computed again in the backward pass instead of kept.

    Source: Griewank and Walther, "Revolve" (2000); Chen et al., "Training deep nets with sublinear
    memory cost" (2016).
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = flatten((args, kwargs))
        spots = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        boxes = [as_tensor(leaves[i]) for i in spots]

        def call(values: list[Tensor]) -> Any:
            new = list(leaves)
            for i, v in zip(spots, values, strict=True):
                new[i] = v
            inner_args, inner_kwargs = unflatten(treedef, new)
            return fn(*inner_args, **inner_kwargs)

        recorded = record_function(fn, boxes, call, [b.type for b in boxes])
        outputs = _run_graph(_wrap_checkpoint(recorded.traced.graph), recorded.inputs)
        _commit(recorded.traced, outputs[recorded.traced.results :])
        return recorded.build(outputs[: recorded.traced.results])

    return wrapped


def _wrap_checkpoint(body: Graph) -> Graph:
    with GraphBuilder(f"checkpoint_{body.name}") as builder:
        inputs = [builder.input(v.type, v.name) for v in body.inputs]
        outputs = emit_all(CHECKPOINT, *inputs, body=body)
    return builder.finish(outputs)


def is_tracing() -> bool:
    """Whether a function is being recorded right now."""
    return STATE.trace is not None
