from __future__ import annotations

import pellucid as pl
from pellucid.core.source import user_line


def test_the_line_is_the_callers() -> None:
    file, _, line = user_line().rpartition(":")
    assert file == "test_source.py"
    assert int(line) == 8


def test_a_recorded_node_has_the_users_line() -> None:
    graph = pl.jit(lambda x: x + 1).lower(pl.ones(2)).graph
    assert {node.source.split(":")[0] for node in graph.nodes} == {"test_source.py"}
