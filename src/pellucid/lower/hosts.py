"""Calls of functions on the host: from nodes to calls of a program, and back to the functions.

Enters: nodes whose records lower to `HostCall`. Leaves: calls without a nest. Programs that were
stored know a call by its key, and find the function in the graph as recorded, without running the
passes again; a node that the passes changed has another key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pellucid.graph.ir import Graph, Node
from pellucid.graph.key import attrs_key, op_key
from pellucid.graph.op import Cost
from pellucid.loop.compute import HostCall
from pellucid.loop.ir import Buffer, Kernel
from pellucid.lower.program import KernelCall
from pellucid.passes.access import lowering_of


def host_of(node: Node) -> HostCall | None:
    """What the node's record asks of the host, where it has no loops."""
    if any(isinstance(a, Graph) for a in node.attrs.values()):
        return None
    lowering = lowering_of(node)
    return lowering if isinstance(lowering, HostCall) else None


def host_call(node: Node, host: HostCall, args: tuple[int, ...], flops: int) -> KernelCall:
    """The node as a call on slots."""
    values = (*node.inputs, *node.outputs)
    names = [f"x{k}" for k in range(len(node.inputs))]
    names += [f"y{k}" for k in range(len(node.outputs))]
    params = [Buffer(n, v.shape, v.dtype) for n, v in zip(names, values, strict=True)]
    return KernelCall(
        kernel=Kernel(node.op.name, tuple(params), len(node.outputs), ()),
        args=args,
        nodes=tuple(v.name for v in node.outputs),
        sources=(node.source,) if node.source else (),
        cost=Cost(flops, sum(p.nbytes for p in params)),
        host=host,
        host_key=_key(node),
    )


def find_host_calls(graph: Graph, keys: Collection[str]) -> dict[str, KernelCall]:
    """The calls of these keys that nodes of the graph make, those in nested graphs among them."""
    names = {key.partition("(")[0] for key in keys}
    found: dict[str, KernelCall] = {}
    for node in _nodes(graph):
        if op_key(node.op) in names and (key := _key(node)) in keys and key not in found:
            host = host_of(node)
            if host is not None:
                found[key] = host_call(node, host, (), 0)
    return found


def _key(node: Node) -> str:
    """Equal for nodes whose function is the same: the record, its attributes, the types."""
    types = [", ".join(str(v.type) for v in side) for side in (node.inputs, node.outputs)]
    return f"{op_key(node.op)}({types[0]}; {attrs_key(node.attrs)}) -> {types[1]}"


def _nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for attr in node.attrs.values():
            for part in attr if isinstance(attr, tuple) else (attr,):
                if isinstance(part, Graph):
                    yield from _nodes(part)
