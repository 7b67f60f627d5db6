"""vmap: a function of one example, applied to many at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from pellucid import ops
from pellucid.autodiff.batching import batch_graph
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import TensorType
from pellucid.tensor.dispatch import apply
from pellucid.tensor.recording import TENSOR, Fn, as_tensor, is_array, record_function, run_graph
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Capture
from pellucid.tensor.tree import TreeDef, flatten, unflatten


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
            is_array(v) and (a is not None or isinstance(v, Tensor))
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
        outputs = run_graph(batch_graph(traced.graph, flags, size), recorded.inputs)
        places = _spread("out_axes", out_axes, recorded.result)
        kept = [p for p, leaf in zip(places, recorded.leaves, strict=True) if leaf is TENSOR]
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
