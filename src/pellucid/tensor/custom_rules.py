"""Rules of custom operators, which their authors write on tensors, as rules of records.

Enters: functions of tensors for derivatives and batches. Leaves: functions of graph values as `Op`
has them, with defaults for those that are missing: either derivative is the other's transpose, and
a batch is a loop over its examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid import ops
from pellucid.autodiff.common import zeros_of
from pellucid.autodiff.composite import transposed
from pellucid.autodiff.scan import ScanForm, scan
from pellucid.core.errors import ArgumentError, TraceError
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, inline
from pellucid.graph.op import Site
from pellucid.tensor.recording import Recorded, as_tensor, record_function
from pellucid.tensor.tensor import Tensor

Rule = Callable[..., Any]
Types = Sequence[TensorType]


def record_rule(name: str, rule: Rule, types: Types, call: Callable[[list[Tensor]], Any]) -> Graph:
    """The graph of a function of tensors that reads nothing but its arguments and plain data.

    Args:
        name: the operator's, for errors.
        rule: the author's function, for its name.
        types: of the symbolic tensors that `call` gets.
        call: runs the function on them; what it returns becomes the outputs.

    Raises:
        TraceError: it reads state, a tensor that wants gradients, or another trace's, or writes.
    """
    return _closed(name, record_function(rule, (), call, types), len(types))


def _closed(name: str, recorded: Recorded, count: int) -> Graph:
    traced = recorded.traced
    if traced.writes or traced.cleared:
        raise TraceError(name, "a custom operator changes nothing outside, and its body writes")
    if not traced.captures:
        return traced.graph
    for box in (c.box for c in traced.captures):
        if box.is_cell or box.requires_grad or box._array is None:
            raise TraceError(
                name, "a custom operator reads its operands only", operands={"tensor": box.type},
                fix="pass the tensor as an operand",
            )  # fmt: skip
    graph = traced.graph
    with GraphBuilder(graph.name) as builder:
        given = [builder.input(v.type, v.name) for v in graph.inputs[:count]]
        known = [ops.constant(c.box.shared()) for c in traced.captures]
        return builder.finish(inline(graph, [*given, *known]))


@dataclass(frozen=True, slots=True, eq=False)
class Derivatives:
    """The derivative rules of an operator, as its author wrote them; either may be missing."""

    name: str
    vjp: Rule | None
    jvp: Rule | None

    def vjp_graph(self, inputs: Types, outputs: Types, attrs: Mapping[str, Any]) -> Graph | None:
        """From inputs, outputs and cotangents of inexact outputs to gradients of inexact inputs."""
        if self.vjp is None:
            rule = self.jvp and self.jvp_graph(inputs, outputs, attrs)
            return transposed(rule, len(inputs) + len(outputs)) if rule else None
        return _linear(self.name, "vjp", self.vjp, (inputs, outputs), (outputs, inputs), attrs)

    def jvp_graph(self, inputs: Types, outputs: Types, attrs: Mapping[str, Any]) -> Graph | None:
        """From inputs, outputs and tangents of inexact inputs to tangents of inexact outputs."""
        if self.jvp is None:
            rule = self.vjp and self.vjp_graph(inputs, outputs, attrs)
            return transposed(rule, len(inputs) + len(outputs)) if rule else None
        return _linear(self.name, "jvp", self.jvp, (inputs, outputs), (inputs, outputs), attrs)

    def pull(self, site: Site, attrs: Mapping[str, Any], given: Sequence[Value | None]) -> Any:
        """`Op.vjp`: per input its gradient."""
        graph = self.vjp_graph([v.type for v in site.inputs], [v.type for v in site.outputs], attrs)
        return _apply(graph, site, [g for g in given if g is not None], site.inputs)

    def push(self, site: Site, attrs: Mapping[str, Any], given: Sequence[Value | None]) -> Any:
        """`Op.jvp`: per output its tangent."""
        graph = self.jvp_graph([v.type for v in site.inputs], [v.type for v in site.outputs], attrs)
        pairs = zip(site.inputs, given, strict=True)
        tangents = [zeros_of(v.type) if t is None else t for v, t in pairs if v.dtype.is_inexact]
        return _apply(graph, site, tangents, site.outputs)


def _apply(
    graph: Graph | None, site: Site, given: Sequence[Value], targets: Sequence[Value]
) -> list[Value | None]:
    if graph is None:
        return [None] * len(targets)
    made = iter(inline(graph, [*site.inputs, *site.outputs, *given]))
    return [next(made) if v.dtype.is_inexact else None for v in targets]


def _linear(
    name: str,
    kind: str,
    rule: Rule,
    types: tuple[Types, Types],
    sides: tuple[Types, Types],
    attrs: Mapping[str, Any],
) -> Graph:
    """`rule(inputs, outputs, given, **attrs)` as a graph; `sides`: what is given, what is made."""
    inputs, outputs = types
    moving, wanted = sides
    given = [t for t in moving if t.dtype.is_inexact]

    def call(boxes: list[Tensor]) -> list[Tensor]:
        rest = iter(boxes)
        first, second = [tuple(next(rest) for _ in side) for side in (inputs, outputs)]
        third = tuple(next(rest) if t.dtype.is_inexact else None for t in moving)
        made = rule(first, second, third, **attrs)
        return _filled(name, kind, made, wanted)

    return record_rule(name, rule, [*inputs, *outputs, *given], call)


def _filled(name: str, kind: str, made: Any, wanted: Types) -> list[Tensor]:
    """The rule's results for inexact places, zeros where it gave `None`.

    Raises:
        ArgumentError: it gave another number of them, or one of another type.
    """
    results = made if isinstance(made, (tuple, list)) else (made,)
    if len(results) != len(wanted):
        rule = f"its {kind} rule must return {len(wanted)} tensors, `None` where there is none"
        raise ArgumentError(name, rule, operands={"it": len(results)})
    found = []
    for k, (result, type) in enumerate(zip(results, wanted, strict=True)):
        if not type.dtype.is_inexact:
            continue
        tensor = _zeros(type) if result is None else as_tensor(result)
        if tensor.type != type:
            rule = f"its {kind} rule must return {type} at place {k}"
            raise ArgumentError(name, rule, operands={"it": tensor.type})
        found.append(tensor)
    return found


def _zeros(type: TensorType) -> Tensor:
    return Tensor(type.dtype.numpy.type(0)).broadcast_to(type.shape)


def batch_by_rule(
    name: str, rule: Rule, site: Site, batched: tuple[bool, ...], size: int, attrs: dict[str, Any]
) -> Sequence[Value]:
    """`Op.batch` from `rule(inputs, batched, size, **attrs)`."""

    def call(boxes: list[Tensor]) -> list[Tensor]:
        made = rule(tuple(boxes), batched, size, **attrs)
        return [as_tensor(t) for t in (made if isinstance(made, (tuple, list)) else (made,))]

    graph = record_rule(name, rule, [v.type for v in site.inputs], call)
    return inline(graph, site.inputs)


def batch_in_front(
    emit: Callable[..., Sequence[Value]], site: Site, batched: tuple[bool, ...], size: int
) -> Sequence[Value]:
    """`Op.batch` of an operator that takes any axes in front: the batch is one more."""
    given = [
        v if b else ops.broadcast_to(v, (size, *v.shape))
        for v, b in zip(site.inputs, batched, strict=True)
    ]
    return emit(*given)


def batch_by_loop(
    emit: Callable[..., Sequence[Value]], site: Site, batched: tuple[bool, ...], size: int
) -> Sequence[Value]:
    """`Op.batch` of any operator: one example after another."""
    shared = [v for v, b in zip(site.inputs, batched, strict=True) if not b]
    many = [v for v, b in zip(site.inputs, batched, strict=True) if b]
    with GraphBuilder(f"{site.outputs[0].name}_example") as builder:
        rest = iter([builder.input(v.type, v.name) for v in shared])
        slices = [TensorType(v.shape[1:], v.dtype) for v in many]
        rows = iter([builder.input(t, "x") for t in slices])
        made = emit(*(next(rows if b else rest) for b in batched))
        body = builder.finish(made)
    return scan(ScanForm(body, 0, len(many), size), *shared, *many)
