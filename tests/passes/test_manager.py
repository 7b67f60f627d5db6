from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.core.errors import ArgumentError, CompileError
from pellucid.graph.ir import Graph
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph
from pellucid.ops.catalogue import CATALOGUE
from pellucid.passes import (
    eliminate_common_subexpressions,
    eliminate_dead_code,
    simplify_algebra,
    simplify_unsafe,
)
from pellucid.passes.manager import Pass, run_passes, select_passes
from tests.passes.golden import graph_of

PASSES = (
    Pass("simplify", simplify_algebra.run, "Cheaper nodes."),
    Pass("unsafe", simplify_unsafe.run, "Cheaper still.", unsafe=True),
    Pass("cse", eliminate_common_subexpressions.run, "Equal things once."),
    Pass("dce", eliminate_dead_code.run, "No dead nodes."),
)
TEXT = """
    graph g(x: f32[3]) {
      a: f32[3] = exp(x)
      b: f32[3] = exp(x)
      c: f32[3] = neg(b)
      d: f32[3] = neg(c)
      e: f32[3] = add(a, d)
      f: f32[3] = log(e)
      return e
    }
"""


def test_statistics_count_what_each_pass_did() -> None:
    result = run_passes(graph_of(TEXT), PASSES)
    simplify, cse, dce = result.stats
    assert [s.name for s in result.stats] == ["simplify", "cse", "dce"]
    assert (simplify.nodes_before, simplify.nodes_after) == (6, 3)
    assert (cse.nodes_before, cse.nodes_after, cse.changed) == (3, 2, True)
    assert not dce.changed
    assert cse.cost_before.flops > cse.cost_after.flops
    assert cse.cost_before.bytes - cse.cost_after.bytes == 24
    assert all(s.seconds >= 0 for s in result.stats)


def test_table_lists_what_changed() -> None:
    result = run_passes(graph_of(TEXT), PASSES)
    assert [line.split()[0] for line in result.table().splitlines()] == ["pass", "simplify", "cse"]
    assert len(result.table(changed_only=False).splitlines()) == 4


def test_disabled_pass_does_not_run() -> None:
    result = run_passes(graph_of(TEXT), PASSES, ["cse", "simplify"])
    assert [s.name for s in result.stats] == ["dce"]
    assert len(result.graph.nodes) == 5


def test_unknown_pass_gets_a_hint() -> None:
    with pytest.raises(ArgumentError, match=r"no pass is named 'simplfy'.*did you mean 'simplify'"):
        run_passes(graph_of(TEXT), PASSES, ["simplfy"])


def test_unsafe_passes_need_leave() -> None:
    assert "unsafe" not in [p.name for p in select_passes(PASSES)]
    assert "unsafe" in [p.name for p in select_passes(PASSES, unsafe=True)]
    assert [s.name for s in run_passes(graph_of(TEXT), PASSES, unsafe=True).stats][1] == "unsafe"


def test_graphs_are_kept_and_written_when_asked(tmp_path: Path) -> None:
    graph = graph_of(TEXT)
    result = run_passes(graph, PASSES, keep=True)
    assert result.stats[0].before is graph
    paths = result.write(tmp_path / "dump")
    assert [p.name for p in paths] == ["00_input.txt", "01_simplify.txt", "02_cse.txt"]
    assert print_graph(parse_graph(paths[0].read_text(), CATALOGUE)) == print_graph(graph)
    assert paths[-1].read_text() == print_graph(result.graph)


def test_writing_graphs_that_were_not_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"graphs were not kept.*keep=True"):
        run_passes(graph_of(TEXT), PASSES).write(tmp_path)


def test_failing_pass_is_named_and_shows_its_graph() -> None:
    def fail(graph: Graph) -> Graph:
        raise KeyError("oops")

    with pytest.raises(
        CompileError, match=r"pass broken: KeyError: 'oops'(.|\n)*b: f32\[3\] = exp\(x\)"
    ):
        run_passes(graph_of(TEXT), [Pass("broken", fail, "Fails.")])


def test_pass_that_breaks_the_graph_is_named() -> None:
    def drop_first(graph: Graph) -> Graph:
        return Graph(graph.name, graph.inputs, graph.nodes[1:], graph.outputs)

    with pytest.raises(CompileError, match=r"pass wrong: VerifyError: .*a.* is not of this graph"):
        run_passes(graph_of(TEXT), [Pass("wrong", drop_first, "Drops a node.")])


def test_pass_that_changes_the_signature_is_named() -> None:
    def forget(graph: Graph) -> Graph:
        return Graph(graph.name, graph.inputs, graph.nodes, ())

    with pytest.raises(CompileError, match="must keep the types of the outputs"):
        run_passes(graph_of(TEXT), [Pass("forget", forget, "Forgets the outputs.")])


def test_verification_can_be_left_out() -> None:
    def forget(graph: Graph) -> Graph:
        return Graph(graph.name, graph.inputs, graph.nodes, ())

    assert run_passes(graph_of(TEXT), [Pass("f", forget, "")], verify=False).graph.outputs == ()


def test_list_may_name_a_pass_twice() -> None:
    stats = run_passes(graph_of(TEXT), PASSES * 2).stats
    assert [s.changed for s in stats] == [True, True, False, False, False, False]
