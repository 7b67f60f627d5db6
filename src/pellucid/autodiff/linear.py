"""Transposition: from a linear map to the one that runs the other way.

Enters: a `Graph` that is linear in some of its inputs. Leaves: a `Graph` of those inputs'
cotangents. Reverse mode transposes what forward mode makes; here the two are taken apart, so that a
rule written for one mode serves the other. Source: Radul et al., You Only Linearize Once (2022).
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.autodiff.common import with_inputs
from pellucid.autodiff.reverse import vjp_graph
from pellucid.graph.ir import Graph


def transpose_graph(graph: Graph, linear: Sequence[int]) -> Graph | None:
    """The transposed map: `other inputs..., cotangents of the float outputs... -> cotangents`.

    Args:
        graph: a program.
        linear: places of the float inputs in which it is linear, the others held.

    Returns:
        The graph; `None` if the program is not linear in them. Whether it is, is read off its
        derivative, which then needs none of these inputs and no output.
    """
    back = vjp_graph(graph, linear)
    count = len(graph.inputs)
    read = {v for node in back.nodes for v in node.inputs} | {*back.outputs}
    held = [i for i in range(count) if i not in linear]
    hidden = [i for i in range(count + len(graph.outputs)) if i not in held]
    if any(back.inputs[i] in read for i in hidden):
        return None
    first = count + len(graph.outputs)
    return with_inputs(back, [*held, *range(first, len(back.inputs))])
