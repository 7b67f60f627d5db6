"""checkpoint: memory traded for time in the backward pass."""

from __future__ import annotations

import functools
from typing import Any

from pellucid.autodiff.checkpoint import CHECKPOINT
from pellucid.graph.ir import Graph, GraphBuilder, emit_all
from pellucid.tensor.recording import Fn, as_tensor, commit, record_function, run_graph
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import flatten, unflatten


def checkpoint(fn: Fn) -> Fn:
    """`fn`, whose inner values are computed again in the backward pass instead of kept.

    Source: Griewank and Walther, "Revolve" (2000); Chen et al., "Training deep nets with sublinear
    memory cost" (2016).
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = flatten((args, kwargs))
        spots = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        boxes = [as_tensor(leaves[i]) for i in spots]

        def call(values: list[Tensor]) -> Any:
            new = list(leaves)
            for i, v in zip(spots, values, strict=True):
                new[i] = v
            inner_args, inner_kwargs = unflatten(treedef, new)
            return fn(*inner_args, **inner_kwargs)

        recorded = record_function(fn, boxes, call, [b.type for b in boxes])
        outputs = run_graph(_wrap_checkpoint(recorded.traced.graph), recorded.inputs)
        commit(recorded.traced, outputs[recorded.traced.results :])
        return recorded.build(outputs[: recorded.traced.results])

    return wrapped


def _wrap_checkpoint(body: Graph) -> Graph:
    with GraphBuilder(f"checkpoint_{body.name}") as builder:
        inputs = [builder.input(v.type, v.name) for v in body.inputs]
        outputs = emit_all(CHECKPOINT, *inputs, body=body, kept=0)
    return builder.finish(outputs)
