"""Drop nodes that no output depends on. Every op is pure, so whatever is unread is unneeded.

`a = exp(x); b = neg(x); return b  ->  b = neg(x); return b`
"""

from __future__ import annotations

from pellucid.graph.ir import Graph
from pellucid.graph.prune import prune
from pellucid.passes.rewrite import map_bodies


def run(graph: Graph) -> Graph:
    """`graph` without dead nodes; inputs stay, read or not, because they are the signature."""
    return prune(map_bodies(graph, run))
