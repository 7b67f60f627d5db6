"""Random graphs as C against the interpreter, with every warning an error and sanitizers on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.core.dtype import float32, float64
from pellucid.deploy import compile_c, export_c
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, inline
from pellucid.tensor.dispatch import apply
from tests.deploy.programs import STRICT, needs_cc
from tests.random_graphs import assert_same_results, random_graph, random_inputs


def as_function(graph: Graph, outputs: Sequence[int]) -> Callable[..., Any]:
    """The graph's `outputs` as a function of tensors."""

    def ops_function(*args: Any) -> Any:
        results = inline(graph, args)
        return tuple(results[i] for i in outputs)

    return lambda *tensors: apply(ops_function, *tensors)


@needs_cc
@pytest.mark.parametrize("seed", [*range(30), 1095])  # 1095: a sum over nothing
def test_random_graphs_equal_the_interpreter(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed, 12, (float32, float64))
    arrays = random_inputs(graph, seed)
    outputs = [i for i, v in enumerate(graph.outputs) if v.type.size]
    if not outputs or any(a.size == 0 for a in arrays):
        pytest.skip("C has no empty arrays")
    wide = Graph(graph.name, graph.inputs, graph.nodes, tuple(graph.outputs[i] for i in outputs))
    export = export_c(as_function(graph, outputs), *arrays, folder=tmp_path, schedule=seed % 3 > 0)
    with np.errstate(all="ignore"):
        expected = interpret(wide, *arrays)
    assert_same_results(wide, compile_c(export, flags=("-O2", *STRICT))(*arrays), expected)
