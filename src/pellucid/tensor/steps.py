"""Branches and steps of loops, recorded: functions of nested containers as graphs of plain values.

Enters: a user's function and what its arguments will be. Leaves: a `Step`, and from it graphs whose
inputs are in the order that a node wants. Tensors that the function reads from outside become
further inputs; cells that it writes become carries.

Python numbers among the arguments are weak, as in a recorded function's own arguments: they take
the dtype of what they meet. Where a step turns a weak carry into a tensor of some dtype, the carry
has that dtype from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid import ops
from pellucid.core.dtype import DType, default_dtype, float64, int64
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError, TraceError
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, inline
from pellucid.graph.prune import prune
from pellucid.tensor.box import STATE, Box
from pellucid.tensor.dispatch import apply
from pellucid.tensor.recording import TENSOR, as_tensor, is_array, run_graph
from pellucid.tensor.tensor import Tensor, full
from pellucid.tensor.trace import Capture, Traced, open_trace, read_grad, write_grad
from pellucid.tensor.tree import TreeDef, flatten, leaf_names

Place = int | Capture
"""An argument of a recorded function by its number, or what it read from outside."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What stands at a leaf: its type, and whether it is a Python number (`weak`)."""

    type: TensorType
    weak: bool = False

    def __str__(self) -> str:
        return (
            f"a Python {'int' if self.type.dtype.is_integer else 'float'}"
            if self.weak
            else str(self.type)
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A recorded function.

    Attributes:
        traced: its graph, from arguments and captures to results and writes.
        structure: of its result.
        leaves: what stands in the result, tensors as `TENSOR`.
        made: what its tensors are.
    """

    traced: Traced
    structure: TreeDef
    leaves: tuple[Any, ...]
    made: tuple[Spec, ...]


def spec_of(leaf: Any) -> Spec:
    """What a leaf that is data will be."""
    if isinstance(leaf, Box):
        return Spec(leaf.type, leaf.weak)
    if type(leaf) in (int, float):
        return Spec(TensorType((), int64 if type(leaf) is int else float64), True)
    return Spec(as_tensor(leaf).type)


def tensor_as(leaf: Any, spec: Spec) -> Tensor:
    """A leaf as a tensor of this type."""
    if isinstance(leaf, Tensor):
        return leaf if leaf.dtype == spec.type.dtype else apply(ops.astype, leaf, spec.type.dtype)
    if type(leaf) in (int, float):
        return full((), leaf, spec.type.dtype)
    return Tensor(leaf, spec.type.dtype)


def strong(value: Tensor, spec: Spec) -> Tensor:
    """The result of a weak carry, in the dtype that such a number has on its own."""
    if not spec.weak:
        return value
    dtype = default_dtype(0 if spec.type.dtype.is_integer else 0.0)
    return value if value.dtype == dtype else apply(ops.astype, value, dtype)


def record_step(
    fn: Callable[..., Any],
    call: Callable[[list[Tensor]], Any],
    specs: Sequence[Spec],
    targets: Sequence[Spec] = (),
    *,
    raw: bool = False,
) -> Step:
    """Record `call` on symbolic tensors.

    Args:
        fn: the user's function, for its name.
        call: takes one tensor per spec, returns a container.
        specs: what its arguments are.
        targets: what its first results should be: numbers among those take that dtype.
        raw: leave numbers among the results weak.
    """
    name = getattr(fn, "__name__", "step")
    with open_trace(name if name.isidentifier() else "step", "transform", Tensor.plain) as trace:
        args = [trace.argument(s.type, "x") for s in specs]
        for arg, spec in zip(args, specs, strict=True):
            arg.weak = spec.weak
        leaves, structure = flatten(call(args))  # type: ignore[arg-type]  # plain makes Tensors
        data = [leaf for leaf in leaves if is_array(leaf)]
        wanted = [spec_of(v) for v in data] if raw else [*targets, *[None] * len(data)]
        results = [_fitted(leaf, spec) for leaf, spec in zip(data, wanted, strict=False)]
        made = tuple(spec_of(r) for r in results)
        traced = trace.finish(results, len(args))
    kept = tuple(TENSOR if is_array(leaf) else leaf for leaf in leaves)
    return Step(traced, structure, kept, made)


def _fitted(leaf: Any, target: Spec | None) -> Tensor:
    """A result; a number takes the target's dtype where that can hold it."""
    if target is None or not spec_of(leaf).weak:
        return as_tensor(leaf)
    spec = spec_of(leaf)
    if not _holds(target.type.dtype, spec.type.dtype):
        return as_tensor(leaf) if not target.weak else _weak(leaf, spec)
    return _weak(leaf, target) if target.weak else tensor_as(leaf, target)


def _weak(leaf: Any, spec: Spec) -> Tensor:
    made = tensor_as(leaf, spec)
    if made is leaf:
        return made
    made.weak = True
    return made


def _holds(target: DType, number: DType) -> bool:
    return target.is_inexact or (target.is_integer and number.is_integer)


def common_spec(specs: Sequence[Spec]) -> Spec:
    """What a result of several branches is: the first tensor's type, else that of the numbers."""
    for spec in specs:
        if not spec.weak:
            return spec
    numbers = [s.type.dtype for s in specs]
    dtype = default_dtype(0 if all(d.is_integer for d in numbers) else 0.0)
    return Spec(TensorType((), dtype))


def refuse_change(op: str, name: str, before: Spec, after: Spec) -> ShapeError | DTypeError:
    """What to raise where a step changes the type of a carry."""
    shapes = before.type.shape != after.type.shape
    return (ShapeError if shapes else DTypeError)(
        op,
        f"a carry keeps its shape and dtype, but a step changes {name}",
        operands={"before": before, "after": after},
        fix="" if shapes else "cast it in the step with .astype, or the start",
    )


def check_structure(op: str, what: str, expected: TreeDef, found: TreeDef) -> None:
    """Refuse another structure than was expected.

    Raises:
        ArgumentError: with both.
    """
    if expected != found:
        operands = {"expected": str(expected), "returned": str(found)}
        raise ArgumentError(op, f"{what} keeps its structure", operands=operands)


def record_carrying(
    op: str, record: Callable[[Sequence[Spec]], Step], carry: Any, specs: Sequence[Spec]
) -> tuple[Step, tuple[Spec, ...]]:
    """Record a step until its carries come out as they went in.

    Args:
        op: the public function, for messages.
        record: records the step for what the carries are.
        carry: the container, for the leaves' names.
        specs: what the carries are at the start.

    Returns:
        The step, and what its carries are.

    Raises:
        ShapeError, DTypeError: a step changes a carry's type.
    """
    leaves, _ = flatten(carry)
    names = [n for n, v in zip(leaf_names(carry, "carry"), leaves, strict=True) if is_array(v)]
    now = tuple(specs)
    for _ in range(len(now) + 2):
        step = record(now)
        after = step.made[: len(now)]
        if after == now:
            break
        for name, a, b in zip(names, now, after, strict=True):
            if a != b and (not a.weak or a.type.shape != b.type.shape):
                raise refuse_change(op, name, a, b)
        now = after
    return step, now


@dataclass(frozen=True, slots=True)
class Captured:
    """What functions read from outside: what stays the same, and the cells that they write."""

    constants: tuple[Capture, ...]
    cells: tuple[Capture, ...]

    def read(self) -> tuple[list[Box], list[Box]]:
        """Constants and cells as they are now."""
        return [c.read() for c in self.constants], [c.read() for c in self.cells]

    def commit(self, values: Sequence[Tensor]) -> None:
        """Give the cells what the node made of them."""
        for cell, value in zip(self.cells, values, strict=True):
            if cell.slot == "grad":
                write_grad(cell.box, value)
            else:
                cell.box.assign_(value)  # type: ignore[attr-defined]  # only cells are written


def captured(op: str, steps: Sequence[Step]) -> Captured:
    """All that these functions read and write outside.

    Raises:
        TraceError: one begins or ends to hold a gradient.
    """
    reads = dict.fromkeys(c for s in steps for c in s.traced.captures)
    writes = dict.fromkeys(w for s in steps for w in s.traced.writes)
    cleared = [b for s in steps for b in s.traced.cleared if read_grad(b) is not None]
    if any(w not in reads for w in writes) or cleared:
        raise TraceError(
            op, "a gradient is set or cleared inside, but not before",
            fix="use grad(...) inside, or call backward and zero_grad outside",
        )  # fmt: skip
    return Captured(tuple(c for c in reads if c not in writes), tuple(writes))


def arranged(
    step: Step, inputs: Sequence[Place], types: Sequence[TensorType], outputs: Sequence[Place]
) -> Graph:
    """The step's graph with its inputs and outputs as a node wants them.

    Args:
        step: the recorded function.
        inputs: arguments by number, captures; those it does not have are not read.
        types: of each input.
        outputs: results by number; cells, as they are after the step.
    """
    traced = step.traced
    with GraphBuilder(traced.graph.name) as builder:
        env: dict[Place, Value] = {
            place: builder.input(type, _name(place))
            for place, type in zip(inputs, types, strict=True)
        }
        made = inline(traced.graph, [env[p] for p in (*range(traced.arguments), *traced.captures)])
        after = dict(env)
        after.update(zip(traced.writes, made[traced.results :], strict=True))
        results = [made[p] if isinstance(p, int) else after[p] for p in outputs]
        return prune(builder.finish(results))


def _name(place: Place) -> str:
    return "x" if isinstance(place, int) else getattr(place.box, "name", "") or "outer"


def emit_node(emit: Callable[..., tuple[Value, ...]], boxes: Sequence[Box]) -> list[Tensor]:
    """The results of a node on these operands: in the open trace, or at once.

    Args:
        emit: makes the node of graph values.
        boxes: its operands.
    """
    if STATE.trace is not None:
        return list(STATE.trace.record(emit, boxes, {}))
    with GraphBuilder("control") as builder:
        graph = builder.finish(emit(*[builder.input(b.type) for b in boxes]))
    return run_graph(graph, boxes)
