"""Graph to loops: slots for the values that need memory, one kernel call per node or fused group.

Nothing is decided here that changes speed: which nodes share a kernel is `passes/group_fusion.py`'s
choice, how a kernel runs is `schedule/`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pellucid.core.errors import LoweringError
from pellucid.graph.ir import ArrayAttr, Graph, Node, TensorType, Value
from pellucid.graph.key import nodes_key
from pellucid.graph.op import Cost
from pellucid.loop.compute import HostCall, Loops, Recipe
from pellucid.loop.ir import Buffer, Const, For, Kernel, Load, Store, Var, as_expr, const
from pellucid.loop.simplify import simplify
from pellucid.lower.collapse import collapse_axes
from pellucid.lower.inplace import inplace_params
from pellucid.lower.program import BufferSlot, KernelCall, LoweredProgram, Role
from pellucid.lower.region import Region, lower_region
from pellucid.passes.access import is_view, lowering_of, template

_NAME_PARTS = 5
_QUIET = frozenset({"constant", "reshape", "broadcast_to", "cast", "transpose", "slice", "barrier"})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lowered:
    """A node's kernel, which of the node's inputs its parameters are, its lines, cost, recipe."""

    kernel: Kernel
    inputs: tuple[int, ...]
    sources: tuple[str, ...]
    cost: Cost
    recipe: Recipe | None = None


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
        self.splats = _splats(graph, self.literals)
        self.literals |= self.splats
        self.claimed = self._claim_outputs()
        self.kernels: dict[str, _LoweredRegion] = {}  # by region
        self.shared: dict[Any, _Lowered] = {}  # by the identity of a body, and known inputs
        self.inplace: dict[Any, tuple[Kernel, tuple[tuple[int, int], ...]]] = {}

    def finish(self) -> LoweredProgram:
        """Lower every node, then what is left of the outputs."""
        for value in self.graph.inputs:
            self.slot_of[value] = self._slot(value.type, "input")
        for node in self.graph.nodes:
            if node.op.name != "constant" and self._is_computed(node.outputs[0]):
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

    def _is_computed(self, value: Value) -> bool:
        return value not in self.roots and value not in self.splats

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
        written = tuple(self._written_slot(v) for v in node.outputs)
        if all(v.type.size == 0 for v in node.outputs):
            return
        host = _host_call(node)
        if host is not None:
            self._call_host(node, host, written)
            return
        made = self._lowered(node)
        args = (*(self._read_slot(node.inputs[k]) for k in made.inputs), *written)
        self._add(made, args, tuple(v.name for v in node.outputs))

    def _call_host(self, node: Node, host: HostCall, written: tuple[int, ...]) -> None:
        values = (*node.inputs, *node.outputs)
        names = [f"x{k}" for k in range(len(node.inputs))]
        names += [f"y{k}" for k in range(len(node.outputs))]
        params = [Buffer(n, v.shape, v.dtype) for n, v in zip(names, values, strict=True)]
        self.calls.append(
            KernelCall(
                kernel=Kernel(node.op.name, tuple(params), len(written), ()),
                args=(*map(self._read_slot, node.inputs), *written),
                nodes=tuple(v.name for v in node.outputs),
                sources=(node.source,) if node.source else (),
                cost=Cost(_node_flops(node), sum(p.nbytes for p in params)),
                host=host,
            )
        )

    def _lowered(self, node: Node) -> _Lowered:
        """The node's kernel; nodes of one body, or of bodies of equal structure, share it."""
        body = node.attrs.get("body")
        known = tuple(self.literals.get(self._root(v)) for v in node.inputs)
        short = (id(body), known)
        if short in self.shared:
            return self.shared[short]
        region = _region_of(node, known)
        key = _region_key(region)
        if key not in self.kernels:
            self.kernels[key] = _lower(region)
        kernel, used, flops, recipe = self.kernels[key]
        places = [node.inputs.index(v) if body is None else k for k, v in enumerate(region.inputs)]
        made = _Lowered(
            kernel=kernel,
            inputs=tuple(places[k] for k in used),
            sources=tuple(dict.fromkeys(str(n.source) for n in region.nodes if n.source)),
            cost=Cost(flops, sum(p.nbytes for p in kernel.params)),
            recipe=recipe,
        )
        if isinstance(body, Graph):
            self.shared[short] = made
        return made

    def _add(self, made: _Lowered, args: tuple[int, ...], names: tuple[str, ...]) -> None:
        inplace = self._inplace(made.kernel, args)
        self.calls.append(
            KernelCall(
                kernel=made.kernel,
                args=args,
                nodes=names,
                sources=made.sources,
                cost=made.cost,
                inplace=inplace,
                recipe=made.recipe,
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
            kernel = _copy_kernel(output.type)
            cost = Cost(0, sum(p.nbytes for p in kernel.params))
            made = _Lowered(kernel=kernel, inputs=(0,), sources=(), cost=cost)
            self._add(made, (self._read_slot(root), target), (output.name,))
        return target


def _constants(nodes: Sequence[Node]) -> dict[Value, NDArray[Any]]:
    return {n.outputs[0]: _array_of(n) for n in nodes if n.op.name == "constant"}


def _array_of(node: Node) -> NDArray[Any]:
    attr = node.attrs["value"]
    if not isinstance(attr, ArrayAttr):
        raise LoweringError("constant", "its value must be an array", operands={"value": attr})
    return attr.array


def _literals(arrays: Mapping[Value, NDArray[Any]]) -> dict[Value, Const]:
    return {
        v: const(a.reshape(-1)[0].item(), v.dtype)
        for v, a in arrays.items()
        if a.size == 1 and not v.dtype.is_complex
    }


def _splats(graph: Graph, literals: Mapping[Value, Const]) -> dict[Value, Const]:
    """Arrays of one known number that only statements read: a scatter's zeros need no memory."""
    readers: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node)
    return {
        node.outputs[0]: literals[node.inputs[0]]
        for node in graph.nodes
        if node.op.name == "broadcast_to"
        and node.inputs[0] in literals
        and node.outputs[0] not in graph.outputs
        and all(_is_statement(r) for r in readers.get(node.outputs[0], ()))
    }


def _is_statement(node: Node) -> bool:
    nested = any(isinstance(a, Graph) for a in node.attrs.values())
    return not nested and isinstance(template(node).lowering, Loops)


def _host_call(node: Node) -> HostCall | None:
    """What the node's record asks of the host, where it has no loops."""
    if node.op.name == "fused":
        return None
    lowering = lowering_of(node)
    return lowering if isinstance(lowering, HostCall) else None


def _roots(nodes: Sequence[Node]) -> dict[Value, Value]:
    """For every view, the value whose memory it is."""
    roots: dict[Value, Value] = {}
    for node in nodes:
        if node.op.name != "constant" and is_view(node):
            source = node.inputs[0]
            roots[node.outputs[0]] = roots.get(source, source)
    return roots


def _region_of(node: Node, known: Sequence[Const | None]) -> Region:
    """The node as a region, of whose inputs the known ones are literals."""
    body = node.attrs.get("body")
    if isinstance(body, Graph):
        inner = _literals(_constants(body.nodes))
        nodes = tuple(n for n in body.nodes if n.op.name != "constant")
        inputs, outputs = body.inputs, body.outputs
    else:
        inner, nodes, outputs = {}, (node,), node.outputs
        inputs = node.inputs
    for value, literal in zip(inputs, known, strict=True):
        if literal is not None:
            inner[value] = literal
    return Region(nodes, tuple(dict.fromkeys(inputs)), outputs, inner)


def _region_key(region: Region) -> str:
    """Equal for regions of equal structure: a program of many equal layers lowers one of each."""
    inputs = [f"{v.type}={region.literals.get(v)}" for v in region.inputs]
    inner = [f"{v.type}={c}" for v, c in region.literals.items() if v not in set(region.inputs)]
    numbers = {v: k for k, v in enumerate((*region.inputs, *region.literals))}
    return ";".join([*inputs, *inner, nodes_key(region.nodes, numbers, region.outputs)])


_LoweredRegion = tuple[Kernel, tuple[int, ...], int, Recipe | None]


def _lower(region: Region) -> _LoweredRegion:
    """The kernel, which of the region's inputs its parameters are, its operations, its recipe."""
    lowered = lower_region(region, kernel_name(region.nodes))
    recipe = lowered.recipe  # which knows the loops by the names its author gave them
    kernel = collapse_axes(lowered.kernel) if recipe is None else lowered.kernel
    if any(p.size == 0 for p in kernel.params):
        kernel = simplify(kernel)  # recipes count on loops that run
    places = {v: k for k, v in enumerate(region.inputs)}
    flops = sum(_node_flops(n) for n in region.nodes)
    return kernel, tuple(places[v] for v in lowered.inputs), flops, recipe


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
    parts = 2 if type.dtype.is_complex else 1
    source = Buffer("x0", (type.size * parts,), type.dtype.real)
    target = Buffer("y0", (type.size * parts,), type.dtype.real)
    step = Store(target, (Var("i0"),), Load(source, (Var("i0"),)))
    return Kernel("copy", (source, target), 1, (For("i0", as_expr(source.size), (step,)),))
