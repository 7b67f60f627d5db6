"""Pieces: a program taken apart into graphs that are optimised once each, and put together again.

Enters: classes of equal segments. Leaves: a graph for each class, and later the whole program with
the optimised graphs in every place where they belong.

A segment's parts lie apart in the program: between a layer's forward part and its backward part,
all later layers run. In its graph an `elsewhere` node stands between two parts. It reads what the
program needs of the earlier parts by then, and gives what the later ones need of the program. So no
pass and no fusion can make a part wait for what only comes after it, and the parts of all segments
can run in the order in which they were. That order also proves that the whole has no cycles: all a
part reads is made in parts before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from pellucid.core.dtype import DType, bool_
from pellucid.core.errors import LoweringError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, Node, TensorType, Value
from pellucid.graph.op import Cost, Op
from pellucid.loop.compute import Loops
from pellucid.passes.eliminate_common_subexpressions import KEPT_APART
from pellucid.passes.rewrite import copy_node, start
from pellucid.passes.segments import Segment
from pellucid.passes.value_numbers import Numbered, attrs_key

_TOKEN = TensorType((), bool_)


def _infer(*inputs: TensorType, types: tuple[tuple[Shape, DType], ...]) -> tuple[TensorType, ...]:
    return (_TOKEN, *(TensorType(shape, dtype) for shape, dtype in types))


def _refuse(*inputs: Any, **attrs: Any) -> NoReturn:
    raise LoweringError("elsewhere", "stands for other parts of a program, which do not run here")


ELSEWHERE: Op = Op(
    name="elsewhere",
    doc=(
        "What the rest of a program does between two parts of a piece of it: reads values, gives"
        " values of `types`. The first input and output say only what comes after what."
    ),
    infer=_infer,
    reference=_refuse,
    vjp=None,
    jvp=None,
    batch=None,
    lower=lambda inputs, outputs, attrs: Loops(build=_refuse),
    cost=lambda inputs, outputs, attrs: Cost(0, 0),
    samples=lambda: [],
)


class Place(str):
    """A node's source line, with its position among the nodes of the segment it came from."""

    __slots__ = ("position",)
    position: int

    def __new__(cls, line: str, position: int) -> Place:
        """The line, which stays an ordinary string to everybody else."""
        made = super().__new__(cls, line)
        made.position = position
        return made


def piece_of(numbered: Numbered, segment: Segment) -> Graph:
    """A segment as a graph: a token and what arrives from the program's inputs in, what is given
    and a token out.
    """
    return _PieceBuilder(numbered, segment).graph()


class _PieceBuilder:
    def __init__(self, numbered: Numbered, segment: Segment) -> None:
        self.numbered, self.segment = numbered, segment
        self.builder = GraphBuilder(numbered.graph.name)
        self.made: dict[int, Value] = {}
        self.returned: dict[int, list[int]] = {}  # by root
        for number in segment.returned:
            self.returned.setdefault(numbered.root[number], []).append(number)

    def graph(self) -> Graph:
        numbered, segment = self.numbered, self.segment
        token = self.builder.input(_TOKEN, "before")
        for number in segment.arriving(0):
            outer = numbered.values[number]
            self.made[number] = self.builder.input(outer.type, outer.name)
        part = 0
        for k, (position, wanted) in enumerate(
            zip(segment.positions.tolist(), segment.part.tolist(), strict=True)
        ):
            while part < wanted:
                part += 1
                token = self._elsewhere(part, token)
            self._node(numbered.nodes[position], k)
        asked = [*segment.leaving(len(segment.starts)), *segment.returned]
        return self.builder.finish([*[self._value(number, -1) for number in asked], token])

    def _elsewhere(self, part: int, token: Value) -> Value:
        arriving = self.segment.arriving(part)
        outer = [self.numbered.values[number] for number in arriving]
        read = [self.made[number] for number in self.segment.leaving(part)]
        types = tuple((v.shape, v.dtype) for v in outer)
        names = ("between", *(v.name for v in outer))
        token, *values = self.builder.emit(ELSEWHERE, [token, *read], {"types": types}, "", names)
        self.made.update(zip(arriving, values, strict=True))
        return token

    def _node(self, node: Node, position: int) -> None:
        numbers = [self.numbered.number[v] for v in node.inputs]
        self._copy(node, [self._value(number, position) for number in numbers], position)

    def _copy(self, node: Node, inputs: Sequence[Value], position: int) -> None:
        made = copy_node(self.builder, node, inputs)
        self.builder.nodes[-1].source = Place(node.source, position)
        for old, new in zip(node.outputs, made, strict=True):
            self.made[self.numbered.number[old]] = new
        # a result moved at the end would keep all it is made of until then
        for old in node.outputs:
            for number in self.returned.get(self.numbered.number[old], ()):
                self._value(number, -1)

    def _value(self, number: int, position: int) -> Value:
        """A value that is here already, or a literal or a move that is made here now, for the node
        at `position`.
        """
        stack = [number]
        while stack:
            node = self.numbered.values[stack[-1]].node
            if stack[-1] in self.made or node is None:
                stack.pop()
                continue
            numbers = [self.numbered.number[v] for v in node.inputs]
            missing = [k for k in numbers if k not in self.made]
            if missing:
                stack += missing
            else:
                self._copy(node, [self.made[k] for k in numbers], position)
        return self.made[number]


@dataclass(frozen=True, slots=True)
class Shared:
    """Equal parts of a program that were optimised once: how many, nodes of each, their lines."""

    times: int
    nodes: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        ends = dict.fromkeys((self.lines[0], self.lines[-1])) if self.lines else {}
        return f"{self.times} x {self.nodes} nodes ({' ... '.join(ends)})"


class Pieces:
    """A program in pieces, one for each class of equal segments.

    Attributes:
        graphs: the pieces.
        times: how often each of them stands in the program.
        shared: what came more than once.
    """

    def __init__(self, numbered: Numbered, classes: Sequence[Sequence[Segment]]) -> None:
        self.numbered, self.classes = numbered, classes
        self.graphs = tuple(piece_of(numbered, segments[0]) for segments in classes)
        self.times = tuple(map(len, classes))
        self.shared = tuple(self._shared(c) for c in classes if len(c) > 1)

    def _shared(self, segments: Sequence[Segment]) -> Shared:
        positions = segments[0].positions.tolist()
        lines = [self.numbered.nodes[k].source for k in positions]
        return Shared(len(segments), len(positions), tuple(dict.fromkeys(filter(None, lines))))

    def join(self, graphs: Sequence[Graph]) -> Graph:
        """The whole program, made of other forms of the pieces.

        Args:
            graphs: for each of `graphs`, one with the same inputs and outputs that computes the
                same; its `elsewhere` nodes in their order.
        """
        return _Join(self.numbered, self.classes, graphs).graph()


class _Form:
    """One form of a piece: its nodes by part, and how they are copied for a segment."""

    def __init__(self, graph: Graph, numbered: Numbered, segment: Segment) -> None:
        self.graph, self.numbered = graph, numbered
        self.lines = _lines(numbered, segment)
        self.parts: list[list[Node]] = [[]]
        self.gates: list[Node] = []
        self.constant: set[Value] = set()
        for node in graph.nodes:
            if node.op is ELSEWHERE:
                self.gates.append(node)
                self.parts.append([])
                continue
            self.parts[-1].append(node)
            if self.constant.issuperset(node.inputs) and node.op.name not in KEPT_APART:
                self.constant.update(node.outputs)
        self.known = self._known(segment)
        self.attrs: dict[tuple[int, tuple[str, ...]], Attrs] = {}

    def _known(self, segment: Segment) -> dict[Value, tuple[int, int]]:
        """For values that have kept their name, the node and place in the segment they come from.

        Passes may have put a number behind a name.
        """
        numbered = self.numbered
        places: dict[str, tuple[int, int]] = {}
        for k, position in enumerate(segment.positions.tolist()):
            first = numbered.first[position]
            for place in range(numbered.width[position]):
                places[numbered.values[first + place].name] = k, place
        found = {}
        for value in (v for node in self.graph.nodes for v in node.outputs):
            short = value.name.rpartition("_")
            place_of = places.get(value.name) or (short[2].isdigit() and places.get(short[0]))
            if place_of:
                found[value] = place_of
        return found

    def attrs_of(self, node: Node, lines: tuple[str, ...]) -> Attrs:
        """A node's attributes; graphs in them with the lines of another segment."""
        if lines == self.lines or not any(isinstance(a, Graph) for a in node.attrs.values()):
            return node.attrs
        key = id(node), lines
        if key not in self.attrs:
            attrs = {
                name: _with_lines(attr, lines) if isinstance(attr, Graph) else attr
                for name, attr in node.attrs.items()
            }
            self.attrs[key] = MappingProxyType(attrs)
        return self.attrs[key]


def _lines(numbered: Numbered, segment: Segment) -> tuple[str, ...]:
    return tuple([numbered.nodes[k].source for k in segment.positions.tolist()])


def _line(source: str, lines: tuple[str, ...]) -> str:
    if isinstance(source, Place) and source.position >= 0:
        return lines[source.position]
    return str(source)


def _with_lines(graph: Graph, lines: tuple[str, ...]) -> Graph:
    builder, env = start(graph)
    for node in graph.nodes:
        made = copy_node(builder, node, [env[v] for v in node.inputs])
        builder.nodes[-1].source = _line(node.source, lines)
        env.update(zip(node.outputs, made, strict=True))
    return builder.finish([env[v] for v in graph.outputs])


class _Join:
    """Puts a program together."""

    def __init__(
        self, numbered: Numbered, classes: Sequence[Sequence[Segment]], graphs: Sequence[Graph]
    ) -> None:
        self.numbered = numbered
        self.builder, _ = start(numbered.graph)
        self.made: dict[int, Value] = dict(enumerate(numbered.graph.inputs))
        self.literals: dict[Any, tuple[Value, ...]] = {}
        self.copies: list[_Copy] = []
        for segments, graph in zip(classes, graphs, strict=True):
            form = _Form(graph, numbered, segments[0])
            self.copies += [_Copy(self, form, segment) for segment in segments]

    def graph(self) -> Graph:
        """All parts in their order."""
        parts = [
            (begin, k, part)
            for k, copy in enumerate(self.copies)
            for part, begin in enumerate(copy.segment.starts)
        ]
        for _, k, part in sorted(parts):
            self.copies[k].add(part)
        numbers = [self.numbered.number[v] for v in self.numbered.graph.outputs]
        return self.builder.finish([self.made[number] for number in numbers])


class _Copy:
    """One segment in the whole program."""

    def __init__(self, whole: _Join, form: _Form, segment: Segment) -> None:
        self.whole, self.form, self.segment = whole, form, segment
        self.lines = _lines(whole.numbered, segment)
        self.env: dict[Value, Value] = {}

    def add(self, part: int) -> None:
        """Append the nodes of a part; what the program needs of it by then is known after that."""
        form, segment, made = self.form, self.segment, self.whole.made
        given = form.gates[part - 1].outputs if part else form.graph.inputs
        arriving = [made[number] for number in segment.arriving(part)]
        self.env.update(zip(given[1:], arriving, strict=True))
        for node in form.parts[part]:
            self._node(node)
        if part < len(form.gates):
            asked, values = segment.leaving(part + 1), form.gates[part].inputs[1:]
        else:
            asked = (*segment.leaving(part + 1), *segment.returned)
            values = form.graph.outputs[:-1]
        for number, value in zip(asked, values, strict=True):
            made[number] = self.env[value]

    def _node(self, node: Node) -> None:
        inputs = tuple([self.env[v] for v in node.inputs])
        key: Any = None
        if node.outputs[0] in self.form.constant:  # the same for all segments
            key = (node.op, attrs_key(node.attrs), inputs)
            if key in self.whole.literals:
                self.env.update(zip(node.outputs, self.whole.literals[key], strict=True))
                return
        attrs = self.form.attrs_of(node, self.lines)
        made = Node(node.op, inputs, attrs, _line(node.source, self.lines))
        made.outputs = tuple([self._output(v, made, k) for k, v in enumerate(node.outputs)])
        self.whole.builder.nodes.append(made)
        self.env.update(zip(node.outputs, made.outputs, strict=True))
        if key is not None:
            self.whole.literals[key] = made.outputs

    def _output(self, value: Value, node: Node, index: int) -> Value:
        """The value of the copy, under the name it had in the program if it was there."""
        known, name = self.form.known.get(value), value.name
        if known is not None:
            numbered = self.whole.numbered
            first = numbered.first[self.segment.positions[known[0]]]
            name = numbered.values[first + known[1]].name
        return Value(value.type, node, index, self.whole.builder.unique(name))
