"""Choose where the channels of images lie, first or last, for the whole graph at once.

`conv2d(relu(x), w) -> transpose(conv2d_last(relu(transpose(x)), w))`, and 1x1 kernels become matrix
products. Each convolution has its cost in either layout (`layout_costs`), conversions have theirs,
and everything else passes on what it is given. The cheapest choice for all nodes together is a
minimum cut between the nodes with channels last and those with channels first: an edge of a node
to its side's terminal is what the other side would cost, one between nodes is the conversion.
Conversions of literals are computed now. Only convolutions with literal kernels take part.
Source: Greig, Porteous and Seheult, "Exact maximum a posteriori estimation for binary images"
(1989), for labels as cuts.
"""

from __future__ import annotations

from collections.abc import Mapping

from pellucid.graph.ir import Graph, GraphBuilder, Node, Value
from pellucid.graph.prune import prune
from pellucid.ops.conv_last import FIRST, LAST
from pellucid.passes.channels_last import (
    Readers,
    has_last,
    images_of,
    is_image,
    last_form,
    moved,
    reads_either,
)
from pellucid.passes.layout_costs import of_conversion, of_convolution
from pellucid.passes.match import constant_array
from pellucid.passes.min_cut import ENDLESS, SINK, SOURCE, Network
from pellucid.passes.rewrite import copy_node, map_bodies, start


def run(graph: Graph) -> Graph:
    """The graph with channels last where that is cheapest."""
    graph = map_bodies(graph, run)
    chosen = choose_last(graph)
    return _rewritten(graph, chosen) if chosen else graph


def choose_last(graph: Graph) -> frozenset[Node]:
    """The nodes that get channels last."""
    nodes = [n for n in graph.nodes if has_last(n)]
    if not any(n.op.name == "conv2d" for n in nodes):
        return frozenset()
    network = Network()
    places = {n: network.vertex() for n in nodes}
    for node in nodes:
        if node.op.name == "conv2d":
            first, last = of_convolution(node)
            network.edge(SOURCE, places[node], first)
            network.edge(places[node], SINK, last)
    for value, readers in _readers(graph, places).items():
        _add_conversions(network, places, value, readers)
    side = network.cut()
    return frozenset(n for n in nodes if places[n] in side)


def _readers(graph: Graph, places: Mapping[Node, int]) -> dict[Value, list[Node | None]]:
    """Who reads each image; None for outputs and for nodes without a choice."""
    found: dict[Value, list[Node | None]] = {}
    for node in graph.nodes:
        read = images_of(node) if node in places else node.inputs
        for value in read:
            if is_image(value):
                found.setdefault(value, []).append(node if node in places else None)
    for value in graph.outputs:
        if is_image(value):
            found.setdefault(value, []).append(None)
    return found


def _add_conversions(
    network: Network, places: Mapping[Node, int], value: Value, readers: list[Node | None]
) -> None:
    """Edges that cost a conversion where a value is read in another layout than it is made in.

    However many read it so, it is converted once; some read it as it lies.
    """
    if constant_array(value) is not None:
        return
    maker = SINK if value.node is None else places.get(value.node, SINK)
    cost, to_last, to_first = of_conversion(value), network.vertex(), network.vertex()
    network.edge(to_last, maker, cost)
    network.edge(maker, to_first, cost)
    for reader in readers:
        place = SINK if reader is None else places[reader]
        network.edge(to_first, place, ENDLESS)
        if reader is not None and reads_either(reader):
            network.edge(place, maker, of_conversion(value, reader))
        else:
            network.edge(place, to_last, ENDLESS)


def _rewritten(graph: Graph, chosen: frozenset[Node]) -> Graph:
    """The graph with the chosen nodes in their other form, and conversions where layouts meet."""
    builder, first = start(graph)
    last: dict[Value, Value] = {}  # what has been made or converted

    def read_first(value: Value) -> Value:
        if value not in first:
            first[value] = moved(last[value], FIRST)
        return first[value]

    def read_last(value: Value) -> Value:
        if value not in last:
            last[value] = moved(first[value], LAST)
        return last[value]

    with builder:
        for node in graph.nodes:
            mark = len(builder.nodes)
            if node in chosen:
                (value,) = node.outputs
                made = last_form(node, Readers(read_first, read_last, last.__contains__))
                made.name = builder.unique(value.name)
                (last if is_image(value) else first)[value] = made
            else:
                copied = copy_node(builder, node, [read_first(v) for v in node.inputs])
                first.update(zip(node.outputs, copied, strict=True))
            for new in builder.nodes[mark:]:
                new.source = node.source
                _name_weights(builder, new)
        return prune(builder.finish([read_first(v) for v in graph.outputs]))


def _name_weights(builder: GraphBuilder, node: Node) -> None:
    """Let literals that were turned for another layout keep their names, with `_last` behind."""
    if node.op.name in ("transpose", "reshape"):
        (source,) = node.inputs
        turned = source.node is not None and source.name.endswith("_last")
        if constant_array(source) is not None or (turned and not is_image(source)):
            name = source.name if turned else f"{source.name}_last"
            node.outputs[0].name = builder.unique(name)
