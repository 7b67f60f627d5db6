"""From one node, or one fused group of nodes, to one kernel.

Every region becomes the same shape of nest: loops over the rows its values share, in them the
reductions, the row buffers and the stores, each in loops of its own over what is left:

    for i0 in 64:                                    # rows
      alloc reduce_max0: f32[] local                 # a reduction: init, loop, finish
        for k0 in 10: reduce_max0 = max(reduce_max0, x0[i0, k0])
        for j0 in 10: y0[i0, j0] = exp(x0[i0, j0] - reduce_max0)

A contraction with its epilogue has every output element as a row; an elementwise chain has rows and
nothing in them but stores. Values inside the region are inlined where they are read. Where the
region begins with closed statements (`Loops`), these are the loops, and what is done with a row
stands where they would store it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.core.dtype import DType
from pellucid.core.errors import LoweringError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Node, Value
from pellucid.loop.compute import Index, Loops, Pointwise, Reader, Readers, Recipe, Reduction
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    Kernel,
    Load,
    Stmt,
    Store,
    Var,
    as_expr,
    const,
)
from pellucid.loop.rewrite import allocated, block_vars, map_exprs, map_stmt, substitute
from pellucid.lower.operands import separate_operands
from pellucid.lower.scope import Names, Scope
from pellucid.passes.access import (
    Template,
    is_closed,
    is_dear,
    is_movement,
    live_nodes,
    stored_as,
    template,
)
from pellucid.passes.row_space import RowSpace, row_space


@dataclass(frozen=True, slots=True)
class Region:
    """What one kernel computes. `literals` are values known to be one scalar: no memory."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    literals: Mapping[Value, Const]


@dataclass(frozen=True, slots=True)
class LoweredRegion:
    """The kernel and the region inputs its parameters are; behind them come all region outputs.

    `recipe` schedules it where one of its ops says how.
    """

    kernel: Kernel
    inputs: tuple[Value, ...]
    recipe: Recipe | None = None


def lower_region(region: Region, name: str) -> LoweredRegion:
    """The naive kernel of a region.

    Raises:
        LoweringError: the values of the region share no rows, or it mixes statements with formulas.
    """
    templates = {n: template(n) for n in region.nodes}
    statements = [t for t in templates.values() if isinstance(t.lowering, Loops)]
    if statements and len(templates) == 1:
        return _lower_statements(region, templates, name)
    if not all(map(is_closed, statements)):
        raise LoweringError(name, "an op made of statements cannot be fused")
    made = _Writer(region, templates, name).kernel()
    recipe = next((r for r in map(_recipe, statements) if r is not None), None)
    if recipe is not None:
        return LoweredRegion(made.kernel, made.inputs, recipe)
    kernel, doubled = separate_operands(made.kernel)
    return LoweredRegion(kernel, (*made.inputs, *(made.inputs[k] for k in doubled)))


def _recipe(made: Template) -> Recipe | None:
    return made.lowering.recipe if isinstance(made.lowering, Loops) else None


def _lower_statements(
    region: Region, templates: Mapping[Node, Template], name: str
) -> LoweredRegion:
    (node,) = region.nodes
    lowering = templates[node].lowering
    if not isinstance(lowering, Loops):
        raise LoweringError(name, "an op made of statements has no formula")
    unique = tuple(dict.fromkeys(node.inputs))
    buffers = {v: Buffer(f"x{k}", v.shape, v.dtype) for k, v in enumerate(unique)}
    outs = tuple(Buffer(f"y{k}", v.shape, v.dtype) for k, v in enumerate(node.outputs))
    body = tuple(lowering.build(tuple(buffers[v] for v in node.inputs), outs))
    known = {buffers[v]: region.literals[v] for v in unique if v in region.literals}
    if known:
        body = map_exprs(body, lambda e: known.get(e.buffer, e) if isinstance(e, Load) else e)
    inputs = tuple(v for v in unique if v not in region.literals)
    kernel = Kernel(name, (*(buffers[v] for v in inputs), *outs), len(outs), body)
    return LoweredRegion(kernel, inputs, lowering.recipe)


class _Writer:
    """Writes the nest of a region of pointwise ops and reductions."""

    def __init__(self, region: Region, templates: Mapping[Node, Template], name: str) -> None:
        self.region, self.templates, self.name = region, templates, name
        self.inputs = {v: Buffer(f"x{k}", v.shape, v.dtype) for k, v in enumerate(region.inputs)}
        self.closed = next((n for n in region.nodes if is_closed(templates[n])), None)
        self.statements = self._statements()
        self.names = Names(
            {b.name for b in allocated(self.statements)} | block_vars(self.statements)
        )
        self.stored = tuple(stored_as(v, templates) for v in region.outputs)
        self.nodes = live_nodes(region.nodes, self.stored)
        space = row_space(self.nodes, templates, self.stored)
        if space is None:
            raise LoweringError(name, "the values of this group share no rows")
        self.space: RowSpace = space
        self.outputs = [Buffer(f"y{k}", v.shape, v.dtype) for k, v in enumerate(self.stored)]
        self.made = {v: n for n in self.nodes for v in n.outputs}
        self.reads = _count_reads(self.nodes, templates, self.stored)
        self.rows = tuple(Var(self.names.take("i")) for _ in space.shape)
        self.scope = Scope(self.names, frozenset(v.name for v in self.rows), None)
        self.kept: dict[Value, Buffer] = {}
        self.used: set[Value] = set()

    def kernel(self) -> LoweredRegion:
        """The finished kernel."""
        kept = _values_to_keep(self.nodes, self.templates, self.stored, self.space)
        if self.closed is not None:
            value = self.closed.outputs[0]
            self.used |= set(self.closed.inputs)
            self.scope.known[value, self._row_index(value)] = Load(_result(value), ())
        for node in self.nodes:
            lowering = self.templates[node].lowering
            if isinstance(lowering, Reduction):
                self._reduce(node, lowering)
            elif node.outputs[0] in kept:
                self._keep(node.outputs[0])
        self._store_outputs()
        body = self._around(self.scope.close())
        inputs = [v for v in self.region.inputs if v in self.used]
        params = (*(self.inputs[v] for v in inputs), *self.outputs)
        made = Kernel(self.name, params, len(self.outputs), body)
        return LoweredRegion(made, tuple(inputs))

    def _statements(self) -> tuple[Stmt, ...]:
        """The region's closed statements, where it has such a node."""
        if self.closed is None:
            return ()
        lowering = self.templates[self.closed].lowering
        if not isinstance(lowering, Loops):
            raise LoweringError(self.name, f"{self.closed.op.name} has no statements")
        sources = tuple(self.inputs[v] for v in self.closed.inputs)
        return lowering.build(sources, (_whole(self.closed.outputs[0]),))

    def _around(self, row: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """What is done for a row, for every row."""
        if self.closed is None:
            return loops(self.rows, self.space.shape, row)
        value = self.closed.outputs[0]
        solid = self.space.axes[value]

        def close(stmt: Stmt) -> Stmt | tuple[Stmt, ...]:
            if not isinstance(stmt, Store) or stmt.buffer != _whole(value):
                return stmt
            places = {v.name: stmt.indices[a] for v, a in zip(self.rows, solid, strict=True)}
            done = substitute(row, places)
            return Alloc(_result(value), (Store(_result(value), (), stmt.value), *done))

        return map_stmt(self.statements, close)

    def _row_index(self, value: Value) -> Index:
        axes = self.space.axes[value]
        places = {axis: row for row, axis in zip(self.rows, axes, strict=True)}
        return tuple(places.get(k, Const(0)) for k in range(len(value.shape)))

    def _inner_index(self, value: Value, hint: str) -> tuple[Index, tuple[Var, ...], Shape]:
        idx: list[Expr] = list(self._row_index(value))
        inner = [k for k in _inner_axes(value, self.space)]
        variables = tuple(Var(self.names.take(hint)) for _ in inner)
        for axis, variable in zip(inner, variables, strict=True):
            idx[axis] = variable
        return tuple(idx), variables, tuple(value.shape[k] for k in inner)

    def _inner_scope(self, variables: Sequence[Var]) -> Scope:
        if not variables:
            return self.scope
        names = self.scope.variables | {v.name for v in variables}
        return Scope(self.names, names, self.scope)

    def _reduce(self, node: Node, lowering: Reduction) -> None:
        value, dtype = node.outputs[0], lowering.accumulate
        idx = self._row_index(value)
        acc = Buffer(self.names.take(node.op.name), (), dtype, "local")
        red = tuple(Var(self.names.take("k")) for _ in lowering.extents)
        inner = self._inner_scope(red)
        term = _in_dtype(lowering.body(idx, red, self._readers(node, inner)), dtype)
        load = Load(acc, ())
        step = Store(acc, (), Call(lowering.combine, (load, term), dtype))
        self.scope.alloc(acc)
        self.scope.add(Store(acc, (), const(lowering.init, dtype)))
        if red:
            inner.add(step)
            self.scope.add(*loops(red, lowering.extents, inner.close()))
        else:
            self.scope.add(step)
        result = load if lowering.finish is None else lowering.finish(load)
        result = _cast(result, value.dtype)
        if result != load and self.reads[value] > 1:
            result = self.scope.name(node.op.name, result, value.dtype)
        self.scope.known[value, idx] = result

    def _keep(self, value: Value) -> None:
        """Fill a row buffer with a value that several loops of the row read."""
        idx, variables, shape = self._inner_index(value, "j")
        inner, node = self._inner_scope(variables), self.made[value]
        made = self._formula(node, idx, inner)
        target = self._output_of(value)
        if target is None:
            target = Buffer(self.names.take(f"{node.op.name}_row"), shape, value.dtype, "temp")
            self.scope.alloc(target)
            inner.add(Store(target, variables, made))
        else:
            inner.add(Store(target, idx, made))
        self.scope.add(*loops(variables, shape, inner.close()))
        self.kept[value] = target

    def _store_outputs(self) -> None:
        groups: dict[Shape, list[tuple[Value, Buffer]]] = {}
        for value, buffer in zip(self.stored, self.outputs, strict=True):
            if self.kept.get(value) != buffer:
                shape = tuple(value.shape[k] for k in _inner_axes(value, self.space))
                groups.setdefault(shape, []).append((value, buffer))
        for shape, targets in groups.items():
            self._store_group(shape, targets)

    def _output_of(self, value: Value) -> Buffer | None:
        return next((b for v, b in zip(self.stored, self.outputs, strict=True) if v is value), None)

    def _store_group(self, shape: Shape, targets: Sequence[tuple[Value, Buffer]]) -> None:
        variables = tuple(Var(self.names.take("j")) for _ in shape)
        inner = self._inner_scope(variables)
        stores = []
        for value, buffer in targets:
            idx = list(self._row_index(value))
            for axis, variable in zip(_inner_axes(value, self.space), variables, strict=True):
                idx[axis] = variable
            made = self._value(value, tuple(idx), inner)
            if len(targets) > 1 and isinstance(made, Call):
                made = inner.name(self.made[value].op.name, made, value.dtype)
            stores.append(Store(buffer, tuple(idx), made))
        inner.add(*stores)
        if variables:
            self.scope.add(*loops(variables, shape, inner.close()))

    def _readers(self, node: Node, scope: Scope) -> Readers:
        return tuple(self._reader(v, scope) for v in node.inputs)

    def _reader(self, value: Value, scope: Scope) -> Reader:
        return lambda idx: self._value(value, tuple(idx), scope)

    def _value(self, value: Value, idx: Index, scope: Scope) -> Expr:
        """The element of `value` at `idx`, as an expression that is valid in `scope`."""
        literal = self.region.literals.get(value)
        if literal is not None:
            return literal
        idx = tuple(Const(0) if n == 1 else i for i, n in zip(idx, value.shape, strict=True))
        if value in self.inputs:
            self.used.add(value)
            return Load(self.inputs[value], idx)
        known = scope.find((value, idx))
        if known is not None:
            return known
        if value in self.kept:
            row = self._row_index(value)
            if all(idx[a] == row[a] for a in self.space.axes[value]):
                return self._load_kept(value, idx)
        return self._inline(value, idx, scope)

    def _load_kept(self, value: Value, idx: Index) -> Expr:
        buffer = self.kept[value]
        if buffer.scope == "param":
            return Load(buffer, idx)
        return Load(buffer, tuple(idx[k] for k in _inner_axes(value, self.space)))

    def _inline(self, value: Value, idx: Index, scope: Scope) -> Expr:
        node, home = self.made[value], scope.home(idx)
        result = self._formula(node, idx, home)
        shared = self.reads[value] > 1 or home is not scope
        if shared and isinstance(result, Call):
            result = home.name(node.op.name, result, value.dtype)
        home.known[value, idx] = result
        return result

    def _formula(self, node: Node, idx: Index, scope: Scope) -> Expr:
        lowering = self.templates[node].lowering
        if not isinstance(lowering, Pointwise):
            raise LoweringError(self.name, f"{node.op.name} is read before it is reduced")
        return lowering.body(idx, self._readers(node, scope))


def _whole(value: Value) -> Buffer:
    """What closed statements store, before it is known what is done with it."""
    return Buffer("whole", value.shape, value.dtype)


def _result(value: Value) -> Buffer:
    """One element of it."""
    return Buffer("result", (), value.dtype, "local")


def _count_reads(
    nodes: Sequence[Node], templates: Mapping[Node, Template], stored: Sequence[Value]
) -> dict[Value, int]:
    """How often each value is read; reads through movement count as the movement's own."""
    reads = {v: int(v in stored) for n in nodes for v in n.outputs}
    for node in reversed(nodes):
        made = templates[node]
        weight = reads[node.outputs[0]] if is_movement(made) else 1
        for access in made.accesses:
            value = node.inputs[access.input]
            if value in reads:
                reads[value] += weight
    return reads


def _inner_axes(value: Value, space: RowSpace) -> tuple[int, ...]:
    rows = space.axes[value]
    return tuple(k for k, n in enumerate(value.shape) if k not in rows and n != 1)


def _values_to_keep(
    nodes: Sequence[Node],
    templates: Mapping[Node, Template],
    stored: Sequence[Value],
    space: RowSpace,
) -> set[Value]:
    """Dear values that more than one loop of a row reads: computed once, into a row buffer."""
    readers: dict[Value, set[object]] = {v: set() for n in nodes for v in n.outputs}
    for value in stored:
        readers[value].add("store")
    kept: set[Value] = set()
    for node in reversed(nodes):
        made, value = templates[node], node.outputs[0]
        if isinstance(made.lowering, Reduction):
            seen: set[object] = {node}
        else:
            seen = readers[value]
            inner = value in space.axes and _inner_axes(value, space)
            if len(seen) > 1 and inner and is_dear(made):
                kept.add(value)
                seen = {node}
        for access in made.accesses:
            source = node.inputs[access.input]
            if source in readers:
                readers[source] |= seen
    return kept


def loops(variables: Sequence[Var], shape: Shape, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """`body` in one serial loop per variable, the first outermost."""
    for variable, extent in zip(reversed(variables), reversed(shape), strict=True):
        body = (For(variable.name, as_expr(extent), body),)
    return body


def _cast(value: Expr, dtype: DType) -> Expr:
    return value if value.dtype == dtype else Call("cast", (value,), dtype)


def _in_dtype(term: Expr, dtype: DType) -> Expr:
    """A reduction's term in the accumulator's dtype; products are formed there too."""
    if term.dtype != dtype and isinstance(term, Call) and term.fn == "mul" and dtype.is_float:
        return Call("mul", tuple(_cast(a, dtype) for a in term.args), dtype)
    return _cast(term, dtype)
