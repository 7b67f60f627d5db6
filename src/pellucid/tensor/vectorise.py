"""vmap: a function of one example, applied to many at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pellucid import ops
from pellucid.autodiff.batching import batch_some
from pellucid.core.dtype import uint64
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.size import Size
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.graph.prune import prune
from pellucid.tensor.box import Box
from pellucid.tensor.collectives import bound_axis
from pellucid.tensor.dispatch import apply
from pellucid.tensor.random import GeneratorState
from pellucid.tensor.recording import (
    TENSOR,
    Fn,
    Recorded,
    as_tensor,
    check_function,
    is_array,
    record_function,
    run_graph,
)
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Traced
from pellucid.tensor.tree import TreeDef, flatten, unflatten

Randomness = Literal["error", "different", "same"]
_RANDOMNESS = ("error", "different", "same")
_ELSEWHERE = {"in_dims": "in_axes", "out_dims": "out_axes", "chunk_size": "a loop over slices"}


def vmap(
    fn: Fn,
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    axis_name: str | None = None,
    axis_size: int | None = None,
    randomness: Randomness = "error",
    **unknown: Any,
) -> Fn:
    """`fn` over a batch axis of its arguments, as one program without a loop.

    Args:
        fn: written for one example.
        in_axes: which axis of each positional argument is the batch; `None`: not batched. One int
            for all, or one per argument; within a container, one int for it or a container of ints.
        out_axes: where the batch axis goes in every result, likewise; `None`: all examples give the
            same result, which comes back once.
        axis_name: a name for the batch axis, for `psum` and its relatives inside `fn`.
        axis_size: the number of examples; needed where nothing is batched.
        randomness: what random numbers inside are: `"different"` (what a loop over the examples
            would draw), the `"same"` for all, or an `"error"`.
        unknown: nothing; names of other libraries are answered with what to write.

    Returns:
        The new function. Keyword arguments are shared by all examples.

    Raises:
        ArgumentError: (when called) axes do not fit the structure, the function writes state, or
            a result that `out_axes` says is shared depends on the example.
        ShapeError: (when called) batch sizes differ, or nothing is batched.
        TypeError: an argument of another name.
    """
    check_function("vmap", fn)
    _check(axis_name, axis_size, randomness, unknown)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = _read(args, in_axes, axis_size)

        def call(values: list[Tensor]) -> Any:
            return fn(*given.put(values), **kwargs)

        with bound_axis(axis_name, given.size):
            recorded = record_function(fn, given.boxes, call, given.types)
        draws = _Draws.of(recorded.traced, randomness, given.size)
        places = _spread("out_axes", out_axes, recorded.result)
        kept = [p for p, leaf in zip(places, recorded.leaves, strict=True) if leaf is TENSOR]
        return _run(recorded, given, kept, axis_name, draws)

    return wrapped


def _check(
    axis_name: str | None, axis_size: int | None, randomness: str, unknown: dict[str, Any]
) -> None:
    for name in unknown:
        hint = f". Fix: use {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise TypeError(f"vmap() got an unexpected keyword argument {name!r}{hint}")
    if randomness not in _RANDOMNESS:
        operands: dict[str, object] = {"randomness": repr(randomness)}
        raise ArgumentError("vmap", f"randomness is one of {_RANDOMNESS}", operands=operands)
    if axis_name is not None and not isinstance(axis_name, str):
        raise ArgumentError("vmap", "axis_name is a string", operands={"it": repr(axis_name)})
    if axis_size is not None and not (isinstance(axis_size, (int, Size)) and axis_size >= 0):
        raise ArgumentError("vmap", "axis_size is an int >= 0", operands={"it": repr(axis_size)})


@dataclass(frozen=True, slots=True)
class _Given:
    """The arguments of one call.

    Attributes:
        leaves: of the arguments.
        treedef: their structure.
        spots: which leaves become tensors; the others keep their Python value.
        boxes: those, with the batch axis first where they have one.
        batched: which of them have one.
        size: the number of examples.
    """

    leaves: list[Any]
    treedef: TreeDef
    spots: list[int]
    boxes: list[Tensor]
    batched: list[bool]
    size: int

    @property
    def types(self) -> list[TensorType]:
        """Types of the tensors in one example."""
        pairs = zip(self.boxes, self.batched, strict=True)
        return [TensorType(x.shape[1:], x.dtype) if b else x.type for x, b in pairs]

    def put(self, values: Sequence[Tensor]) -> Any:
        """The arguments with these tensors."""
        leaves = list(self.leaves)
        for i, v in zip(self.spots, values, strict=True):
            leaves[i] = v
        return unflatten(self.treedef, leaves)


def _read(args: tuple[Any, ...], in_axes: Any, axis_size: int | None) -> _Given:
    leaves, treedef = flatten(args)
    axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    every = _spread("in_axes", axes, treedef)
    # what is not batched and no array keeps its Python value: flags, names, None
    spots = [
        i
        for i, (v, a) in enumerate(zip(leaves, every, strict=True))
        if is_array(v) and (a is not None or isinstance(v, Tensor))
    ]
    tensors = [as_tensor(leaves[i]) for i in spots]
    chosen = [every[i] for i in spots]
    size = _batch_size(tensors, chosen, axis_size)
    boxes = [
        x if a is None else apply(ops.moveaxis, x, a, 0)
        for x, a in zip(tensors, chosen, strict=True)
    ]
    return _Given(leaves, treedef, spots, boxes, [a is not None for a in chosen], size)


def _run(
    recorded: Recorded,
    given: _Given,
    places: list[int | None],
    axis_name: str | None,
    draws: _Draws,
) -> Any:
    traced = recorded.traced
    flags = (*given.batched, *draws.batched)
    shared = [i for i, p in enumerate(places) if p is None] + draws.shared
    graph, spread = batch_some(traced.graph, flags, given.size, axis=axis_name, shared=shared)
    if any(spread[i] for i in shared):
        raise ArgumentError(
            "vmap",
            "a result that depends on the example has the batch axis",
            operands={"out_axes": None},
            fix="give the axis a place in out_axes, or reduce over it with psum or pmean",
        )
    outputs = run_graph(graph, [*given.boxes, *draws.read(traced)])
    draws.commit(traced, outputs[traced.results :])
    return recorded.build(
        [
            r if p is None else apply(ops.moveaxis, r, 0, p)
            for r, p in zip(outputs[: traced.results], places, strict=True)
        ]
    )


def _spread(name: str, axes: Any, tree: TreeDef) -> list[int | None]:
    """One axis per leaf, from an axis for all or a container of them."""
    if axes is None or (isinstance(axes, int) and not isinstance(axes, bool)):
        return [axes] * tree.leaves
    items, found = flatten(axes, is_leaf=lambda v: v is not axes)
    sequences = found.kind in (tuple, list) and tree.kind in (tuple, list)
    fits = tree.kind is not None and (found.kind is tree.kind or sequences)
    fits = fits and set(found.keys) == set(tree.keys)
    if fits and found.keys:
        of = dict(zip(found.keys, items, strict=True))
        items = [of[k] for k in tree.keys]
    if not fits or len(items) != len(tree.children):
        operands = {name: repr(axes), "items": len(tree.children)}
        rule = f"{name} must be an int, None, or a container of them like the one it is for"
        raise ArgumentError("vmap", rule, operands=operands)
    return [a for i, t in zip(items, tree.children, strict=True) for a in _spread(name, i, t)]


def _batch_size(leaves: Sequence[Tensor], axes: Sequence[int | None], axis_size: int | None) -> int:
    sizes = {} if axis_size is None else {"axis_size": axis_size}
    for i, (x, a) in enumerate(zip(leaves, axes, strict=True)):
        if a is not None:
            if not -x.ndim <= a < x.ndim:
                raise ShapeError("vmap", f"argument {i} has no axis {a}", operands={"it": x.type})
            sizes[f"argument {i}"] = x.shape[a]
    if len(set(sizes.values())) != 1:
        raise ShapeError(
            "vmap",
            "batch axes must have one common size" if sizes else "no argument is batched",
            operands=sizes,
            fix="set in_axes=None for what is shared" if sizes else "give axis_size",
        )
    return next(iter(sizes.values()))


@dataclass(frozen=True, slots=True)
class _Draws:
    """What becomes of random number generators that the function draws from.

    Attributes:
        size: the number of examples.
        kind: what the numbers are.
        steps: per captured tensor, how far one example moves its counter; 0 for what is none.
        shared: places of written states that all examples leave alike.
    """

    size: int
    kind: str
    steps: tuple[int, ...]
    shared: list[int]

    @staticmethod
    def of(traced: Traced, kind: str, size: int) -> _Draws:
        """Look for changes of state.

        Raises:
            ArgumentError: there are some that all examples would make differently.
        """
        for capture in traced.writes:
            if not isinstance(capture.box, GeneratorState) or kind == "error":
                _refuse_write(capture.box)
        if traced.cleared:
            _refuse_write(traced.cleared[0])
        written = {c: traced.results + i for i, c in enumerate(traced.writes)}
        steps = tuple(
            _step(traced.graph, traced.arguments + i, written[c]) if c in written else 0
            for i, c in enumerate(traced.captures)
        )
        shared = list(written.values()) if kind == "same" else []
        return _Draws(size, kind, steps, shared)

    @property
    def batched(self) -> tuple[bool, ...]:
        """Per captured tensor, whether every example has its own."""
        return tuple(self.kind == "different" and s > 0 for s in self.steps)

    def read(self, traced: Traced) -> list[Box]:
        """The captured tensors; states of generators as a loop over the examples finds them."""
        boxes = [c.read() for c in traced.captures]
        return [
            apply(_states, b, s, self.size) if each else b
            for b, s, each in zip(boxes, self.steps, self.batched, strict=True)
        ]

    def commit(self, traced: Traced, outputs: Sequence[Tensor]) -> None:
        """Leave the states as the last example does."""
        for capture, value in zip(traced.writes, outputs, strict=True):
            last = value if self.kind == "same" else value[-1] if self.size else capture.read()
            capture.box.assign_(last)  # type: ignore[attr-defined]  # a generator's state


def _step(graph: Graph, place: int, output: int) -> int:
    """How far a run of the program moves a generator's counter, whatever its other inputs are."""
    alone = prune(Graph(graph.name, graph.inputs, graph.nodes, (graph.outputs[output],)))
    zeros = [np.broadcast_to(np.zeros((), v.dtype.numpy), v.shape) for v in graph.inputs]
    (state,) = interpret(alone, *zeros)
    return int(state[1])


def _states(state: Value, step: int, size: int) -> Value:
    """The state before each example's draws, `[size, 2]`."""
    moved = ops.constant(np.array([0, step], np.uint64))
    return ops.add(state, ops.multiply(ops.iota((size, 2), 0, uint64), moved))


def _refuse_write(box: Box) -> None:
    if isinstance(box, GeneratorState):
        raise ArgumentError(
            "vmap",
            "the function writes state: it draws random numbers",
            fix="say randomness='different' or 'same', or pass them as an argument",
        )
    raise ArgumentError(
        "vmap",
        "the function writes state, which would differ between examples",
        operands={"cell": box.type},
        fix="return the new value instead",
    )
