"""Products that a scan's steps need not make one by one, made for all steps at once.

A product of a vector and a matrix reads the whole matrix for few operations; the same product of
many vectors is one of two matrices, many times faster. So in a scan over rows `x`

- `z = x @ w`, which needs no carry, is computed before the loop, for all rows;
- `y = g @ w`, which only a result is, is computed after it, from the stacked `g`;
- `c' = c + x.T @ g`, which only adds up, is one product after the loop, over steps as well.

`c, y = scan(f, c0, w, xs)`  ->  `zs = xs @ w; gs = scan(g, zs); y = gs @ w; c = c0 + xs.T @ gs`

Where steps have many rows of their own (`RICH` operations per byte) they stay, since stacking what
goes between costs memory traffic; sums leave earlier, as long as that takes little memory beside
what the loop reads anyway. Sums over steps round differently: in the product's order instead
of the loop's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.bodies import extract
from pellucid.autodiff.scan import ScanForm, scan
from pellucid.core.size import is_static
from pellucid.graph.ir import Graph, Node, Value, emit, inline
from pellucid.graph.prune import reachable
from pellucid.graph.stats import node_cost
from pellucid.ops import add
from pellucid.ops import sum as sum_of
from pellucid.ops.contraction import DOT_GENERAL
from pellucid.passes.rewrite import map_bodies, rewrite

RICH = 4
"""Operations per byte from which a step's product is left where it is."""
RICH_SUM = 16
"""The same for sums and results whose operands take at most half of what the loop reads by rows."""
FEWEST = 4
"""Steps from which it pays."""
MOST_BYTES = 1 << 26
"""Memory for what goes between."""
MOVES = frozenset({"reshape", "transpose", "broadcast_to"})


def run(graph: Graph) -> Graph:
    """`graph` with thin products out of its scans, nested ones first."""
    return rewrite(map_bodies(graph, run), _batch)


def _batch(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name != "scan":
        return None
    form = ScanForm.of(node.attrs)
    if form.counted or not is_static(form.length) or form.length < FEWEST:
        return None
    return _Loop(form, inputs).batched()


@dataclass(slots=True)
class _Late:
    """A result or a sum that is made after the loop: of which product, by what movement."""

    place: int
    product: Node
    value: Value


@dataclass(slots=True)
class _Loop:
    """A scan whose products are looked at."""

    form: ScanForm
    operands: tuple[Value, ...]
    early: list[Value] = field(default_factory=list)
    sums: list[_Late] = field(default_factory=list)
    results: list[_Late] = field(default_factory=list)

    @property
    def body(self) -> Graph:
        return self.form.body

    def batched(self) -> Sequence[Value] | None:
        """The scan's outputs with products outside; None where there are none."""
        self.early = self._early()
        self.sums, self.results = self._late()
        if not (self.early or self.sums or self.results):
            return None
        return self._rebuilt()

    def _part(self, places: range) -> list[Value]:
        return [self.body.inputs[i] for i in places]

    @property
    def _same(self) -> list[Value]:
        return self._part(range(self.form.constants))

    @property
    def _carry(self) -> list[Value]:
        return self._part(self.form.carry_places)

    @property
    def _rows(self) -> list[Value]:
        return self._part(self.form.slice_places)

    def _is_thin(self, node: Node, limit: int = RICH) -> bool:
        cost = node_cost(node)
        static = is_static(*(v.shape for v in (*node.inputs, *node.outputs)))
        return node.op.name == "dot_general" and static and cost.flops < limit * cost.bytes

    def _may_leave(self, node: Node) -> bool:
        """Whether a product at the end of a step is better made after the loop."""
        if self._is_thin(node):
            return self._fits(node.inputs)
        there = {*self._rows, *self._same}
        stacked = [v for v in dict.fromkeys(node.inputs) if v not in there]
        read = sum(v.type.nbytes for v in self._rows)
        little = 2 * sum(v.type.nbytes for v in stacked) <= read
        return little and self._is_thin(node, RICH_SUM) and self._fits(stacked)

    def _fits(self, values: Sequence[Value]) -> bool:
        return sum(v.type.nbytes for v in values) * self.form.length <= MOST_BYTES

    def _early(self) -> list[Value]:
        """Products of rows and constants."""
        nodes = self.body.nodes
        late, rows = reachable(nodes, self._carry), reachable(nodes, self._rows)
        same = set(self._same)
        found = []
        for node in nodes:
            value = node.outputs[0]
            mine = value in rows and value not in late and not same.isdisjoint(node.inputs)
            if mine and self._is_thin(node) and self._fits([value]):
                found.append(value)
        return found

    def _late(self) -> tuple[list[_Late], list[_Late]]:
        """Sums of products, and results that are products with a constant."""
        uses = Counter(v for n in self.body.nodes for v in n.inputs)
        uses.update(self.body.outputs)
        sums, results = [], []
        for k, value in enumerate(self.body.outputs):
            if k < self.form.carries:
                sums += self._sum(k, value, uses)
            else:
                product = self._product(value, uses)
                if product is not None and not set(self._same).isdisjoint(product.inputs):
                    results.append(_Late(k, product, value))
        return sums, results

    def _sum(self, k: int, value: Value, uses: Counter[Value]) -> list[_Late]:
        """The products that a carry adds up, where it does nothing else."""
        carry = self._carry[k]
        terms = _terms(value, uses)
        if uses[carry] != 1 or carry not in terms or len(terms) < 2:
            return []
        found = []
        for term in terms:
            product = None if term is carry else self._product(term, uses)
            if product is not None and not set(self._same).issuperset(product.inputs):
                found.append(_Late(k, product, term))
        return found if len(found) == len(terms) - 1 else []

    def _product(self, value: Value, uses: Counter[Value]) -> Node | None:
        """The thin product that a value is, moved or not, if nobody else reads it."""
        node = value.node
        while node is not None and node.op.name in MOVES and uses[node.outputs[0]] == 1:
            node = node.inputs[0].node
        if node is None or uses[node.outputs[0]] != 1 or node.op.name != "dot_general":
            return None
        return node if node.outputs[0] not in self.early and self._may_leave(node) else None

    def _rebuilt(self) -> list[Value]:
        """The loop with what is left, and products around it."""
        form, body = self.form, self.body
        parts = form.parts(self.operands)
        outside = dict(zip(self._same, parts.constants, strict=True))
        arrays = dict(zip(self._rows, parts.xs, strict=True))
        if self.early:
            arrays.update(zip(self.early, self._made_early(outside, arrays), strict=True))
        gone = {late.place for late in (*self.sums, *self.results)}
        kept = [k for k in range(len(body.outputs)) if k not in gone]
        products = [p for late in (*self.sums, *self.results) for p in late.product.inputs]
        stacked = [v for v in dict.fromkeys(products) if v not in arrays and v not in outside]
        carries = [k for k in kept if k < form.carries]
        starts = [*self._same, *(self._carry[k] for k in carries), *arrays]
        outputs = [*(body.outputs[k] for k in kept), *stacked]
        step = extract(body.nodes, starts, outputs, body.name)
        new = replace(form, body=step, carries=len(carries), slices=len(arrays))
        init = [parts.init[k] for k in carries]
        made = scan(new, *parts.constants, *init, *arrays.values())
        found = dict(zip(kept, made, strict=False))
        arrays.update(zip(stacked, made[len(kept) :], strict=True))
        for late in self.sums:
            before = found.get(late.place, parts.init[late.place])
            found[late.place] = add(before, self._total(late, outside, arrays))
        for late in self.results:
            found[late.place] = self._all(late, outside, arrays)
        return [found[k] for k in range(len(body.outputs))]

    def _made_early(
        self, outside: dict[Value, Value], arrays: dict[Value, Value]
    ) -> tuple[Value, ...]:
        starts = [*outside, *arrays]
        graph = extract(self.body.nodes, starts, self.early, f"{self.body.name}_early")
        flags = [v in arrays for v in starts]
        batched = batch_graph(graph, flags, self.form.length)
        return inline(batched, [*outside.values(), *arrays.values()])

    def _all(self, late: _Late, outside: dict[Value, Value], arrays: dict[Value, Value]) -> Value:
        """A result of all steps."""
        operands = list(dict.fromkeys(late.product.inputs))
        graph = extract(self.body.nodes, operands, [late.value], "late")
        batched = batch_graph(graph, [v not in outside for v in operands], self.form.length)
        return inline(batched, [outside.get(v) or arrays[v] for v in operands])[0]

    def _total(self, late: _Late, outside: dict[Value, Value], arrays: dict[Value, Value]) -> Value:
        """The sum over all steps of a product: steps are one more axis to contract."""
        x, y = late.product.inputs
        attrs = dict(late.product.attrs)
        contract, batch = (
            cast("tuple[tuple[int, ...], tuple[int, ...]]", attrs[n]) for n in ("contract", "batch")
        )
        if x in outside or y in outside:
            values = [outside[v] if v in outside else sum_of(arrays[v], 0) for v in (x, y)]
        else:
            values = [arrays[x], arrays[y]]
            attrs["contract"] = tuple((0, *(a + 1 for a in side)) for side in contract)
            attrs["batch"] = tuple(tuple(a + 1 for a in side) for side in batch)
        made = emit(DOT_GENERAL, *values, **attrs)
        moved = extract(self.body.nodes, [late.product.outputs[0]], [late.value], "moved")
        return inline(moved, [made])[0]


def _terms(value: Value, uses: Counter[Value]) -> list[Value]:
    """What a value is the sum of, sums that nobody else reads taken apart."""
    node = value.node
    if node is None or node.op.name != "add" or uses[value] != 1:
        return [value]
    return [term for v in node.inputs for term in _terms(v, uses)]
