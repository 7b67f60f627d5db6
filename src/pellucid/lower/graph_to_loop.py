"""Graph to loops: slots for the values that need memory, one kernel call per node or fused group.

Nothing is decided here that changes speed: which nodes share a kernel is `passes/group_fusion.py`'s
choice, how a kernel runs is `schedule/`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from pellucid.core.errors import LoweringError
from pellucid.graph.ir import ArrayAttr, Graph, Node, TensorType, Value
from pellucid.graph.key import nodes_key
from pellucid.graph.op import Cost
from pellucid.loop.ir import Buffer, Const, For, Kernel, Load, Store, Var, const
from pellucid.loop.simplify import simplify
from pellucid.lower.collapse import collapse_axes
from pellucid.lower.inplace import inplace_params
from pellucid.lower.program import BufferSlot, KernelCall, LoweredProgram, Role
from pellucid.lower.region import Region, lower_region
from pellucid.passes.access import is_view

_NAME_PARTS = 5
_QUIET = frozenset({"constant", "reshape", "broadcast_to", "cast", "transpose", "slice", "barrier"})
Literals = Mapping[Value, Const]


def lower_graph(graph: Graph) -> LoweredProgram:
    """The program's kernels, naive and in the graph's order, and its memory.

    Reshapes outside of groups share their input's slot. Scalar constants become literals. An output
    that is an input, a constant, or memory another output already has, is copied.

    Raises:
        LoweringError: a node has no loop form.
    """
    return _Program(graph).finish()


class _Program:
    """Slots and calls of one graph under construction."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.slots: list[BufferSlot] = []
        self.calls: list[KernelCall] = []
        self.slot_of: dict[Value, int] = {}
        self.arrays = _constants(graph.nodes)
        self.roots = _roots(graph.nodes)
        self.literals = _literals(self.arrays)
        self.claimed = self._claim_outputs()
        self.lowered: dict[str, tuple[Kernel, tuple[int, ...], int]] = {}  # by region
        self.inplace: dict[Any, tuple[Kernel, tuple[tuple[int, int], ...]]] = {}

    def finish(self) -> LoweredProgram:
        """Lower every node, then what is left of the outputs."""
        for value in self.graph.inputs:
            self.slot_of[value] = self._slot(value.type, "input")
        for node in self.graph.nodes:
            if node.op.name != "constant" and node.outputs[0] not in self.roots:
                self._call(node)
        inputs = tuple(self.slot_of[v] for v in self.graph.inputs)
        outputs = tuple(self._output(k) for k in range(len(self.graph.outputs)))
        return LoweredProgram(
            name=self.graph.name,
            slots=tuple(self.slots),
            calls=tuple(self.calls),
            inputs=inputs,
            outputs=outputs,
        )

    def _claim_outputs(self) -> dict[Value, int]:
        """For each value made in a graph output's own memory, that output's position."""
        claimed: dict[Value, int] = {}
        for position, output in enumerate(self.graph.outputs):
            root = self._root(output)
            if root.node is not None and root not in self.arrays:
                claimed.setdefault(root, position)
        return claimed

    def _root(self, value: Value) -> Value:
        return self.roots.get(value, value)

    def _slot(self, type: TensorType, role: Role, value: NDArray[Any] | None = None) -> int:
        self.slots.append(BufferSlot(id=len(self.slots), type=type, role=role, value=value))
        return len(self.slots) - 1

    def _read_slot(self, value: Value) -> int:
        root = self._root(value)
        if root not in self.slot_of and root in self.arrays:
            self.slot_of[root] = self._slot(root.type, "constant", self.arrays[root])
        return self.slot_of[root]

    def _written_slot(self, value: Value) -> int:
        position = self.claimed.get(value)
        if position is None:
            self.slot_of[value] = self._slot(value.type, "temp")
        else:
            self.slot_of[value] = self._slot(self.graph.outputs[position].type, "output")
        return self.slot_of[value]

    def _call(self, node: Node) -> None:
        region, outer = _region_of(node, self.literals, self.roots)
        written = tuple(self._written_slot(v) for v in node.outputs)
        if all(v.type.size == 0 for v in node.outputs):
            return
        key = _region_key(region)
        if key not in self.lowered:
            self.lowered[key] = _lower(region)
        kernel, inputs, flops = self.lowered[key]
        args = (*(self._read_slot(outer[region.inputs[k]]) for k in inputs), *written)
        self._add(kernel, args, tuple(v.name for v in node.outputs), region.nodes, flops)

    def _add(
        self,
        kernel: Kernel,
        args: tuple[int, ...],
        names: tuple[str, ...],
        nodes: Sequence[Node],
        flops: int,
    ) -> None:
        moved = sum(p.nbytes for p in kernel.params)
        self.calls.append(
            KernelCall(
                kernel=kernel,
                args=args,
                nodes=names,
                sources=tuple(dict.fromkeys(n.source for n in nodes if n.source)),
                cost=Cost(flops, moved),
                inplace=self._inplace(kernel, args),
            )
        )

    def _inplace(self, kernel: Kernel, args: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """`inplace_params`, which sees nothing of the arguments but which of them are the same."""
        pattern = tuple(args.index(slot) for slot in args)
        key = id(kernel), pattern
        if key not in self.inplace:
            self.inplace[key] = kernel, inplace_params(kernel, pattern)
        return self.inplace[key][1]

    def _output(self, position: int) -> int:
        """The slot of a graph output, copied into where its memory is someone else's."""
        output = self.graph.outputs[position]
        root = self._root(output)
        if self.claimed.get(root) == position:
            return self.slot_of[root]
        target = self._slot(output.type, "output")
        if output.type.size:
            args = (self._read_slot(root), target)
            self._add(_copy_kernel(output.type), args, (output.name,), (), 0)
        return target


def _constants(nodes: Sequence[Node]) -> dict[Value, NDArray[Any]]:
    return {n.outputs[0]: _array_of(n) for n in nodes if n.op.name == "constant"}


def _array_of(node: Node) -> NDArray[Any]:
    attr = node.attrs["value"]
    if not isinstance(attr, ArrayAttr):
        raise LoweringError("constant", "its value must be an array", operands={"value": attr})
    return attr.array


def _literals(arrays: Mapping[Value, NDArray[Any]]) -> dict[Value, Const]:
    return {v: const(a.reshape(-1)[0].item(), v.dtype) for v, a in arrays.items() if a.size == 1}


def _roots(nodes: Sequence[Node]) -> dict[Value, Value]:
    """For every view, the value whose memory it is."""
    roots: dict[Value, Value] = {}
    for node in nodes:
        if node.op.name != "constant" and is_view(node):
            source = node.inputs[0]
            roots[node.outputs[0]] = roots.get(source, source)
    return roots


def _region_of(
    node: Node, literals: Literals, roots: Mapping[Value, Value]
) -> tuple[Region, dict[Value, Value]]:
    """The node as a region, and for each region input the program's value it is."""
    body = node.attrs.get("body")
    if isinstance(body, Graph):
        outer = dict(zip(body.inputs, node.inputs, strict=True))
        inner = _literals(_constants(body.nodes))
        nodes = tuple(n for n in body.nodes if n.op.name != "constant")
        outputs = body.outputs
    else:
        outer = {v: v for v in node.inputs}
        inner, nodes, outputs = {}, (node,), node.outputs
    for value, given in outer.items():
        root = roots.get(given, given)
        if root in literals:
            inner[value] = literals[root]
    return Region(nodes, tuple(outer), outputs, inner), outer


def _region_key(region: Region) -> str:
    """Equal for regions of equal structure: a program of many equal layers lowers one of each."""
    inputs = [f"{v.type}={region.literals.get(v)}" for v in region.inputs]
    inner = [f"{v.type}={c}" for v, c in region.literals.items() if v not in set(region.inputs)]
    numbers = {v: k for k, v in enumerate((*region.inputs, *region.literals))}
    return ";".join([*inputs, *inner, nodes_key(region.nodes, numbers, region.outputs)])


def _lower(region: Region) -> tuple[Kernel, tuple[int, ...], int]:
    """The kernel, which of the region's inputs its parameters are, and its operations."""
    lowered = lower_region(region, kernel_name(region.nodes))
    kernel = collapse_axes(lowered.kernel)
    if any(p.size == 0 for p in kernel.params):
        kernel = simplify(kernel)  # recipes count on loops that run
    places = {v: k for k, v in enumerate(region.inputs)}
    flops = sum(_node_flops(n) for n in region.nodes)
    return kernel, tuple(places[v] for v in lowered.inputs), flops


def kernel_name(nodes: Sequence[Node]) -> str:
    """A name that says which ops a kernel holds: `dot_general_add_max`."""
    names = [n.op.name for n in nodes]
    loud = list(dict.fromkeys(n for n in names if n not in _QUIET)) or list(dict.fromkeys(names))
    more = "_etc" if len(loud) > _NAME_PARTS else ""
    return "_".join(loud[:_NAME_PARTS]) + more


def _node_flops(node: Node) -> int:
    cost = node.op.cost([v.type for v in node.inputs], [v.type for v in node.outputs], node.attrs)
    return cost.flops


def _copy_kernel(type: TensorType) -> Kernel:
    source = Buffer("x0", (type.size,), type.dtype)
    target = Buffer("y0", (type.size,), type.dtype)
    step = Store(target, (Var("i0"),), Load(source, (Var("i0"),)))
    return Kernel("copy", (source, target), 1, (For("i0", Const(type.size), (step,)),))
