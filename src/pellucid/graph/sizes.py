"""Graphs with sizes that are not known yet: which ones there are, and the graph for some numbers.

Enters: a graph whose types and attributes may hold sizes of `core/size.py`. Leaves: its dimensions,
or the same graph with numbers in their places, built through the ops' own type rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pellucid.core.size import Dim, Size, Sizes, bound, dims_of
from pellucid.graph.ir import Attr, Graph, GraphBuilder, TensorType, Value


def graph_dims(graph: Graph) -> tuple[Dim, ...]:
    """The named dimensions in the types and attributes of a graph, by name."""
    found: dict[object, tuple[Dim, ...]] = {}
    for part in _parts(graph):
        if part not in found:
            found[part] = dims_of(part)
    return dims_of(*found.values())


def _parts(graph: Graph) -> Iterator[object]:
    """Shapes, and attributes that may hold sizes."""
    for value in graph.inputs:
        yield value.shape
    for node in graph.nodes:
        for value in node.outputs:
            yield value.shape
        for attr in node.attrs.values():
            if isinstance(attr, Size):
                yield attr
            elif type(attr) is tuple:
                yield from _graphless(attr)
            elif isinstance(attr, Graph):
                yield graph_dims(attr)


def _graphless(attr: tuple[Any, ...]) -> Iterator[object]:
    for item in attr:
        if isinstance(item, Graph):
            yield graph_dims(item)
        elif type(item) is tuple:
            yield from _graphless(item)
        elif isinstance(item, Size):
            yield item


def bind_graph(graph: Graph, sizes: Sizes) -> Graph:
    """The graph for these sizes of its dimensions.

    Raises:
        ShapeError: the sizes do not fit an op.
    """
    builder = GraphBuilder(graph.name)
    env: dict[Value, Value] = {}
    for value in graph.inputs:
        env[value] = builder.input(_bound_type(value.type, sizes), value.name)
    for node in graph.nodes:
        inputs = [env[v] for v in node.inputs]
        attrs = {name: _bound_attr(attr, sizes) for name, attr in node.attrs.items()}
        names = [v.name for v in node.outputs]
        made = builder.emit(node.op, inputs, attrs, node.source, names)
        env.update(zip(node.outputs, made, strict=True))
    return builder.finish([env[v] for v in graph.outputs])


def _bound_type(type: TensorType, sizes: Sizes) -> TensorType:
    return TensorType(bound(type.shape, sizes), type.dtype)


def _bound_attr(attr: Attr, sizes: Sizes) -> Any:
    if isinstance(attr, Graph):
        return bind_graph(attr, sizes)
    if type(attr) is tuple:
        return tuple(_bound_attr(item, sizes) for item in attr)
    return bound(attr, sizes)
