"""Graph to loops: slots for the values that need memory, one kernel call per node or fused group.

Nothing is decided here that changes speed: which nodes share a kernel is `passes/group_fusion.py`'s
choice, how a kernel runs is `schedule/`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from pellucid.core.errors import LoweringError
from pellucid.graph.ir import ArrayAttr, Graph, Node, TensorType, Value
from pellucid.graph.key import nodes_key
from pellucid.graph.op import Cost
from pellucid.loop.compute import Loops, Recipe
from pellucid.loop.ir import Buffer, Const, For, Kernel, Load, Store, Var, as_expr, const
from pellucid.loop.simplify import simplify
from pellucid.lower.collapse import collapse_axes
from pellucid.lower.control import CONTROL
from pellucid.lower.flow import Step
from pellucid.lower.hosts import host_call, host_of
from pellucid.lower.inplace import inplace_params
from pellucid.lower.interleave import store_interleaved
from pellucid.lower.program import BufferSlot, KernelCall, LoweredProgram, Role
from pellucid.lower.region import Region, lower_region
from pellucid.passes.access import is_view, template

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
    made = _Program(graph, _Shared())
    for value in graph.inputs:
        made.slot_of[value] = made.slot(value.type, "input")
    inputs = tuple(made.slot_of[v] for v in graph.inputs)
    outputs = made.finish()
    return LoweredProgram(
        name=graph.name,
        slots=tuple(made.shared.slots),
        steps=tuple(made.steps),
        inputs=inputs,
        outputs=outputs,
    )


class _Shared:
    """What a program and the graphs inside it have in common."""

    def __init__(self) -> None:
        self.slots: list[BufferSlot] = []
        self.kernels: dict[str, _LoweredRegion] = {}  # by region
        self.lowered: dict[Any, _Lowered] = {}  # by the identity of a body, and known inputs
        self.inplace: dict[Any, tuple[Kernel, tuple[tuple[int, int], ...]]] = {}


class _Program:
    """Slots and steps of one graph under construction.

    Args:
        graph: what is lowered.
        shared: slots and kernels so far.
        outputs: where its outputs go; new slots by default.
        known: inputs that are literals.
    """

    def __init__(
        self,
        graph: Graph,
        shared: _Shared,
        outputs: Sequence[int] = (),
        known: Mapping[Value, Const] = MappingProxyType({}),
    ) -> None:
        self.graph, self.shared, self.targets = graph, shared, outputs
        self.steps: list[Step] = []
        self.slot_of: dict[Value, int] = {}
        self.arrays = _constants(graph.nodes)
        self.roots = _roots(graph.nodes)
        self.literals = _literals(self.arrays) | dict(known)
        self.splats = _splats(graph, self.literals)
        self.literals |= self.splats
        self.claimed = self._claim_outputs()

    def finish(self) -> tuple[int, ...]:
        """Lower every node, then what is left of the outputs, whose slots are returned."""
        for node in self.graph.nodes:
            if node.op.name != "constant" and self._is_computed(node.outputs[0]):
                self._call(node)
        outputs = tuple(self._output(k) for k in range(len(self.graph.outputs)))
        self.steps = store_interleaved(self.steps, self.shared.slots)
        return outputs

    def inner(
        self,
        graph: Graph,
        inputs: Sequence[int],
        outputs: Sequence[int],
        known: Mapping[Value, Const] = MappingProxyType({}),
    ) -> tuple[Step, ...]:
        """The steps of a graph inside this one, from these slots to those."""
        made = _Program(graph, self.shared, outputs, known)
        made.slot_of.update(zip(graph.inputs, inputs, strict=True))
        made.finish()
        return tuple(made.steps)

    def copy(self, source: Value, target: int) -> None:
        """Add a call that copies a value to a slot of its type."""
        if not source.type.size:
            return
        kernel = _copy_kernel(source.type)
        cost = Cost(0, sum(p.nbytes for p in kernel.params))
        made = _Lowered(kernel=kernel, inputs=(0,), sources=(), cost=cost)
        self._add(made, (self.read_slot(source), target), (source.name,))

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

    def slot(self, type: TensorType, role: Role, value: NDArray[Any] | None = None) -> int:
        """A new slot."""
        slots = self.shared.slots
        slots.append(BufferSlot(id=len(slots), type=type, role=role, value=value))
        return len(slots) - 1

    def read_slot(self, value: Value) -> int:
        """Where a value is."""
        root = self._root(value)
        if root not in self.slot_of and root in self.arrays:
            self.slot_of[root] = self.slot(root.type, "constant", self.arrays[root])
        return self.slot_of[root]

    def written_slot(self, value: Value) -> int:
        """Where a value is going to be."""
        position = self.claimed.get(value)
        if position is None:
            self.slot_of[value] = self.slot(value.type, "temp")
        else:
            self.slot_of[value] = self._target(position)
        return self.slot_of[value]

    def _target(self, position: int) -> int:
        """The slot of an output: given, or a new one."""
        if self.targets:
            return self.targets[position]
        return self.slot(self.graph.outputs[position].type, "output")

    def _call(self, node: Node) -> None:
        if node.op.name in CONTROL:
            step = CONTROL[node.op.name](self, node)
            self.steps.extend(step)
            return
        written = tuple(self.written_slot(v) for v in node.outputs)
        if all(v.type.size == 0 for v in node.outputs):
            return
        host = host_of(node)
        if host is not None:
            args = (*map(self.read_slot, node.inputs), *written)
            self.steps.append(host_call(node, host, args, _node_flops(node)))
            return
        made = self._lowered(node)
        args = (*(self.read_slot(node.inputs[k]) for k in made.inputs), *written)
        self._add(made, args, tuple(v.name for v in node.outputs))

    def _lowered(self, node: Node) -> _Lowered:
        """The node's kernel; nodes of one body, or of bodies of equal structure, share it."""
        body = node.attrs.get("body")
        known = tuple(self.literals.get(self._root(v)) for v in node.inputs)
        short = (id(body), known)
        if short in self.shared.lowered:
            return self.shared.lowered[short]
        region = _region_of(node, known)
        key = _region_key(region)
        kernels = self.shared.kernels
        if key not in kernels:
            kernels[key] = _lower(region)
        kernel, used, flops, recipe = kernels[key]
        places = [node.inputs.index(v) if body is None else k for k, v in enumerate(region.inputs)]
        made = _Lowered(
            kernel=kernel,
            inputs=tuple(places[k] for k in used),
            sources=tuple(dict.fromkeys(str(n.source) for n in region.nodes if n.source)),
            cost=Cost(flops, sum(p.nbytes for p in kernel.params)),
            recipe=recipe,
        )
        if isinstance(body, Graph):
            self.shared.lowered[short] = made
        return made

    def _add(self, made: _Lowered, args: tuple[int, ...], names: tuple[str, ...]) -> None:
        inplace = self._inplace(made.kernel, args)
        self.steps.append(
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
        known = self.shared.inplace
        if key not in known:
            known[key] = kernel, inplace_params(kernel, pattern)
        return known[key][1]

    def _output(self, position: int) -> int:
        """The slot of a graph output, copied into where its memory is someone else's."""
        output = self.graph.outputs[position]
        root = self._root(output)
        if self.claimed.get(root) == position:
            return self.slot_of[root]
        target = self._target(position)
        self.copy(output, target)
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
