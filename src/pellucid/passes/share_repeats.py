"""Optimise equal parts of a program once: layers of a deep model, steps of an unrolled loop.

`layer(layer(layer(x, w0), w1), w2)` -> the passes that follow see `layer` once, whatever the number
of layers, and the whole is put together from what they make of it. So compile time grows with the
number of distinct layers. How equal parts are found: `find_runs.py`, `place_cuts.py`,
`segments.py`; how a program is taken apart and put together: `pieces.py`.

Nothing is fused over a border between two parts, nor simplified; the borders lie where little goes
over them. Frozen models do not gain: each layer's literal weights make it unlike the others.
"""

from __future__ import annotations

from pellucid.graph.ir import Graph
from pellucid.passes.pieces import Pieces
from pellucid.passes.segments import equal_segments
from pellucid.passes.value_numbers import number_values

FEWEST_NODES = 64


def divide(graph: Graph) -> Pieces | None:
    """The program in pieces; None where it does not repeat itself enough."""
    if len(graph.nodes) < FEWEST_NODES:
        return None
    numbered = number_values(graph)
    classes = equal_segments(numbered)
    return Pieces(numbered, classes) if classes else None


def run(graph: Graph) -> Graph:
    """`graph` with equal nodes computed once, taken apart and put together again."""
    pieces = divide(graph)
    return graph if pieces is None else pieces.join(pieces.graphs)
