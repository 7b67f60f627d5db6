"""Random programs with branches and loops: interpreted, optimised, lowered, compiled, derived and
batched, they equal the same programs written out.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.compile import compile_graph
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.graph.stats import op_counts
from pellucid.graph.verifier import verify
from pellucid.runtime.executable import Executable
from tests.autodiff.numeric import close, fill
from tests.lower.execution import run_program
from tests.random_control import random_control

SEEDS = int(os.environ.get("CONTROL_SEEDS", "3"))
TRANSFORMS: dict[str, Callable[[Graph], Graph]] = {
    "itself": lambda g: g,
    "gradient": lambda g: value_and_vjp_graph(g, [0, 2]),
    "tangents": lambda g: jvp_graph(g, [True, False, True]),
    "batch": lambda g: batch_graph(g, [True, False, False], 2),
    "batch of gradient": lambda g: batch_graph(
        value_and_vjp_graph(g, [0]), [True, False, True, False, False], 2
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_programs_equal_themselves_written_out(seed: int, transform: str) -> None:
    graph, other = (TRANSFORMS[transform](random_control(seed, w)) for w in (False, True))
    verify(graph)
    arrays = fill(graph, seed)
    expected = interpret(other, *arrays)
    close(interpret(graph, *arrays), expected, 1e-9)
    compiled = compile_graph(graph)
    close(interpret(compiled.passes.graph, *arrays), expected, 1e-9)
    close(run_program(compiled.lowered, arrays), expected, 1e-9)
    close(Executable(compiled).run(arrays), expected, 1e-9)


def test_the_programs_have_all_kinds() -> None:
    counts: dict[str, int] = {}
    for seed in range(30):
        for name, count in op_counts(random_control(seed, False)).items():
            counts[name] = counts.get(name, 0) + count
        assert not {"scan", "switch", "while_loop"} & set(op_counts(random_control(seed, True))) - {
            "scan"
        }
    assert all(counts[name] > 5 for name in ("scan", "switch", "while_loop"))
