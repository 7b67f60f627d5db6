"""`switch`: one of several graphs, chosen by a number when the program runs.

    outputs = branches[min(max(index, 0), n - 1)](*operands)

Only the chosen branch runs; its gradient is that branch's alone, so an operand that only others
read gets zeros (openmlsys CG-4). A gradient runs the chosen branch again for what it needs of it:
saving would take memory for all branches. `cond` is two branches. Over a batch of different indices
all branches run and results are chosen. A primitive because a choice between values computes them
all. Other names: JAX `lax.switch`, `lax.cond`, ONNX `If`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.bodies import check_operands, no_lowering, types_of
from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.reverse import vjp_graph
from pellucid.core.dtype import float32, int32
from pellucid.core.errors import VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, TensorType, Value, emit_all, inline
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.graph.stats import graph_cost
from pellucid.ops import broadcast_to, clip, equal, multiply, reshape, sin, where

PREFIX = "branch"


def switch(index: Value, branches: Sequence[Graph], *operands: Value) -> tuple[Value, ...]:
    """What the chosen branch makes of the operands, as one node of the current program.

    Args:
        index: an int32 without axes; the nearest branch where there is none of this number.
        branches: graphs of equal input and output types.
        operands: their inputs.
    """
    return emit_all(SWITCH, index, *operands, **switch_attrs(branches))


def switch_attrs(branches: Sequence[Graph]) -> dict[str, Graph]:
    """Branches as a node's attributes."""
    return {f"{PREFIX}{k}": b for k, b in enumerate(branches)}


def branches_of(attrs: Attrs) -> list[Graph]:
    """The branches in order."""
    return [cast("Graph", attrs[f"{PREFIX}{k}"]) for k in range(len(attrs))]


def _infer(index: TensorType, *types: TensorType, **attrs: Graph) -> tuple[TensorType, ...]:
    branches = branches_of(attrs)
    if index != TensorType((), int32):
        raise VerifyError("switch", "the index is an int32 without axes", operands={"it": index})
    if not branches:
        raise VerifyError("switch", "takes at least one branch")
    made = types_of(branches[0].outputs)
    for branch in branches:
        check_operands("switch", branch, types)
        if types_of(branch.outputs) != made:
            operands = {b.name: ", ".join(map(str, types_of(b.outputs)))
                        for b in (branches[0], branch)}  # fmt: skip
            raise VerifyError("switch", "all branches return equal types", operands=operands)
    return made


def _reference(
    index: NDArray[Any], *arrays: NDArray[Any], **attrs: Graph
) -> tuple[NDArray[Any], ...]:
    branches = branches_of(attrs)
    return interpret(branches[int(np.clip(index, 0, len(branches) - 1))], *arrays)


def _cost(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    costs = [graph_cost(b) for b in branches_of(attrs)]
    return Cost(max(c.flops for c in costs), max(c.bytes for c in costs))


def _vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    index, *operands = site.inputs
    flags = site.wanted[1:] or (True,) * len(operands)
    wanted = [i for i, v in enumerate(operands) if flags[i] and v.dtype.is_inexact]
    branches = [vjp_graph(b, wanted) for b in branches_of(site.attrs)]
    given = [c for c in cotangents if c is not None]
    made = switch(index, branches, *operands, *site.outputs, *given) if wanted else ()
    found = dict(zip(wanted, made, strict=True))
    return [None, *(found.get(i) for i in range(len(operands)))]


def _jvp(site: Site, *tangents: Value | None) -> list[Value | None]:
    moves = [t is not None for t in tangents[1:]]
    branches = [tangent_graph(b, moves) for b in branches_of(site.attrs)]
    given = [t for t in tangents if t is not None]
    made = iter(switch(site.inputs[0], branches, *site.inputs[1:], *given))
    return [next(made) if v.dtype.is_inexact else None for v in site.outputs]


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    index, *operands = site.inputs
    branches = branches_of(site.attrs)
    if not batched[0]:
        return switch(index, [batch_graph(b, batched[1:], size) for b in branches], *operands)
    if any(batched[1:]):
        graphs = [batch_graph(b, batched[1:], size) for b in branches]
        made = [inline(g, operands) for g in graphs]
    else:
        made = [
            tuple(broadcast_to(v, (size, *v.shape)) for v in inline(b, operands)) for b in branches
        ]
    chosen = clip(index, 0, len(branches) - 1)
    return [_choose(chosen, values) for values in zip(*made, strict=True)]


def _choose(index: Value, values: Sequence[Value]) -> Value:
    """Per example the value of its branch."""
    result = values[-1]
    shape = (*index.shape, *(1,) * (result.rank - 1))
    for k, value in reversed(list(enumerate(values[:-1]))):
        result = where(reshape(equal(index, k), shape), value, result)
    return result


def _samples() -> list[Sample]:
    f = TensorType((3,), float32)
    branches = {}
    for k in range(3):
        with GraphBuilder(f"case{k}") as builder:
            x, y = builder.input(f, "x"), builder.input(f, "y")
            made = (multiply(sin(x), y), sin(y), multiply(x, x))[k]
            branches[f"{PREFIX}{k}"] = builder.finish([made, y])
    return [Sample((np.array(k, np.int32), f, f), branches) for k in (0, 1, 5)]


SWITCH: Op = Op(
    name="switch",
    doc=(
        "One of its branches applied to its operands, chosen by a number that is known when the"
        " program runs. Primitive: a choice between results would compute all of them."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=_batch,
    lower=no_lowering,
    cost=_cost,
    samples=_samples,
)
