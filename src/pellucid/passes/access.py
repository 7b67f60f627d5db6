"""Which elements of its inputs a node reads: the question behind every fusion decision.

A lowering rule is a function of index expressions, so it is asked once with symbolic indices
`i0, i1, …` (output) and `r0, r1, …` (reduced) and readers that write down where they are called.
Nothing here changes a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pellucid.core.shape import Shape, size_of
from pellucid.graph.ir import Graph, Node, Value
from pellucid.loop.compute import (
    HostCall,
    Index,
    Loops,
    Lowering,
    Pointwise,
    Readers,
    Reduction,
    host_lowering,
)
from pellucid.loop.ir import (
    Buffer,
    Call,
    Const,
    Expr,
    Load,
    Var,
    iadd,
    ifloordiv,
    imod,
    imul,
)
from pellucid.ops.pairs import VIEWS

TRANSCENDENTAL = frozenset({
    "exp", "exp_bounded", "exp2", "expm1", "log", "log1p", "log2", "log10", "pow", "erf",
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
})  # fmt: skip
LARGE_EXPRESSION = 40  # calls; such a body (random bits) is dear however plain its functions are


@dataclass(frozen=True, slots=True)
class Access:
    """Input `input` of a node is read at `indices`; `plain` names the output axes among them."""

    input: int
    indices: Index
    plain: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A node's lowering as a formula: its value at `i0, i1, …` and every read in it."""

    lowering: Lowering
    body: Expr | None
    accesses: tuple[Access, ...]


def out_vars(rank: int) -> tuple[Var, ...]:
    """`i0, i1, …`: the symbolic output index of a template."""
    return tuple(Var(f"i{k}") for k in range(rank))


def lowering_of(node: Node) -> Lowering:
    """What the node's record says; reshapes are ours, so that equal axes stay plain variables.

    Loops have no complex numbers, so nodes on them call their NumPy reference.
    """
    if node.op.name in VIEWS:
        return node.op.lower((), (), node.attrs)
    if node.op.name != "reshape" and has_complex(node):
        return host_lowering(node.op.reference)((), (), node.attrs)
    types = [v.type for v in node.inputs]
    made = node.op.lower(types, [v.type for v in node.outputs], node.attrs)
    if isinstance(made, Pointwise) and made.views:
        source, target = node.inputs[0].shape, node.outputs[0].shape
        return Pointwise(
            body=lambda idx, reads: reads[0](reshape_index(idx, target, source)), views=True
        )
    return made


def has_complex(node: Node) -> bool:
    """Whether an operand or a result is complex."""
    return any(v.dtype.is_complex for v in (*node.inputs, *node.outputs))


def template(node: Node) -> Template:
    """The node's formula; `body` is None for `Loops`, which may read any element of its inputs."""
    lowering = lowering_of(node)
    accesses: list[Access] = []
    readers = _recorders(node, accesses)
    idx: Index = out_vars(node.outputs[0].rank)
    if isinstance(lowering, Pointwise):
        body: Expr | None = lowering.body(idx, readers)
    elif isinstance(lowering, Reduction):
        red = tuple(Var(f"r{k}") for k in range(len(lowering.extents)))
        body = lowering.body(idx, red, readers)
    else:
        body = None
        accesses += [Access(k, (), (None,) * v.type.rank) for k, v in enumerate(node.inputs)]
    return Template(lowering, body, tuple(accesses))


def _recorders(node: Node, accesses: list[Access]) -> Readers:
    buffers = [Buffer(f"in{k}", v.shape, v.dtype) for k, v in enumerate(node.inputs)]

    def reader(k: int, indices: Index) -> Expr:
        accesses.append(Access(k, tuple(indices), plain_axes(indices)))
        return Load(buffers[k], tuple(indices))

    return tuple(lambda indices, k=k: reader(k, indices) for k in range(len(buffers)))


def calls_in(expr: Expr) -> Iterator[Call]:
    """Every function application in an expression, index arithmetic of its loads left out."""
    if isinstance(expr, Call):
        yield expr
        for arg in expr.args:
            yield from calls_in(arg)


def is_dear(made: Template) -> bool:
    """True when computing the value twice costs more than storing it once."""
    if made.body is None or isinstance(made.lowering, Reduction):
        return True
    calls = list(calls_in(made.body))
    return len(calls) > LARGE_EXPRESSION or any(c.fn in TRANSCENDENTAL for c in calls)


def reduces(made: Template) -> bool:
    """True where every element of the value is combined from many."""
    return isinstance(made.lowering, Reduction) or is_closed(made)


def is_closed(made: Template) -> bool:
    """True for statements whose results others may take up where they are stored."""
    return isinstance(made.lowering, Loops) and made.lowering.closed


def is_movement(made: Template) -> bool:
    """True when the value is one element of an input, unchanged (transpose, broadcast, slice)."""
    return isinstance(made.lowering, Pointwise) and isinstance(made.body, Load)


def reshape_index(idx: Index, shape: Shape, source: Shape) -> Index:
    """The element of `source` that element `idx` of `shape` is, row-major; sizes are equal.

    Axes that both shapes have stay as they are: only merged or split ones meet arithmetic.
    """
    out: list[Expr] = [Const(0)] * len(source)
    left = [(i, n) for i, n in zip(idx, shape, strict=True) if n != 1]
    axes = [(k, n) for k, n in enumerate(source) if n != 1]
    while left and axes:
        have, want = [left.pop(0)], [axes.pop(0)]
        while (a := size_of([n for _, n in have])) != (b := size_of([n for _, n in want])):
            if not (left or axes):
                break  # equal, as was decided of open sizes
            if left and (a < b or not axes):
                have.append(left.pop(0))
            else:
                want.append(axes.pop(0))
        _split_linear(have, want, out)
    return tuple(out)


def _split_linear(
    have: list[tuple[Expr, int]], want: list[tuple[int, int]], out: list[Expr]
) -> None:
    if len(want) == 1:
        linear: Expr = Const(0)
        for i, n in have:
            linear = iadd(imul(linear, n), i)
        out[want[0][0]] = linear
        return
    linear = Const(0)
    for i, n in have:
        linear = iadd(imul(linear, n), i)
    stride = size_of([n for _, n in want])
    for position, (axis, n) in enumerate(want):
        stride //= n
        digit = ifloordiv(linear, stride)
        out[axis] = digit if position == 0 else imod(digit, n)


def plain_axes(indices: Index) -> tuple[int | None, ...]:
    """For each index, the output axis whose variable it is, or None."""
    return tuple(
        int(i.name[1:]) if isinstance(i, Var) and i.name.startswith("i") else None for i in indices
    )


def solid_axes(value: Value) -> tuple[int, ...]:
    """The axes of more than one element."""
    return tuple(k for k, n in enumerate(value.shape) if n != 1)


def stored_as(value: Value, templates: Mapping[Node, Template]) -> Value:
    """The value whose memory a group's output is: reshapes at the end of a group cost nothing."""
    node = value.node
    while node is not None and node in templates:
        lowering = templates[node].lowering
        if not (isinstance(lowering, Pointwise) and lowering.views):
            break
        if node.inputs[0].node not in templates:
            break
        value, node = node.inputs[0], node.inputs[0].node
    return value


def live_nodes(nodes: Sequence[Node], outputs: Sequence[Value]) -> tuple[Node, ...]:
    """The nodes that the outputs need, in order."""
    needed, live = set(outputs), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            live.append(node)
    return tuple(reversed(live))


def runs_on_host(node: Node) -> bool:
    """True when compiled programs go back to Python, or to C that may fail, for the node."""
    nested = any(isinstance(a, Graph) for a in node.attrs.values())
    lowering = None if nested else lowering_of(node)
    return isinstance(lowering, HostCall) and lowering.may_fail


def is_view(node: Node) -> bool:
    """True when the node's output is its input's memory, as it is."""
    nested = any(isinstance(a, Graph) for a in node.attrs.values())
    if nested or len(node.inputs) != 1 or len(node.outputs) != 1:
        return False
    lowering = lowering_of(node)
    return isinstance(lowering, Pointwise) and lowering.views
