"""Gradients of functions of graph values on arrays, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.autodiff.reverse import vjp_graph
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Value
from tests.ops.records import trace, type_of

Array = NDArray[Any]


def grad(fn: Callable[..., Value], *arrays: Array, by: int | None = None) -> tuple[Array, ...]:
    """The gradients of the sum of `fn`'s result by its float arguments, or by the one at `by`."""
    graph = trace(fn, *(type_of(a) for a in arrays))
    outputs = interpret(graph, *arrays)
    places = [i for i, v in enumerate(graph.inputs) if v.dtype.is_float]
    places = places if by is None else [by]
    return interpret(vjp_graph(graph, places), *arrays, *outputs, np.ones_like(outputs[0]))
