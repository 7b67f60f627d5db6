"""A tensor from outside that decides while recording: a warning, and no stale program."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest

import pellucid as pl
from pellucid.core.errors import TraceWarning

LIMIT = pl.Tensor(1.0)


@pytest.mark.parametrize(
    "decide",
    [lambda t: bool(t > 0) if isinstance(t, float) else t.item() > 0, bool, int, float],
    ids=["item", "bool", "int", "float"],
)
@pytest.mark.parametrize("cell", [False, True], ids=["plain", "cell"])
def test_it_warns_with_the_line_and_compiles_again_when_it_changes(decide: Any, cell: bool) -> None:
    limit = pl.Buffer(1.0) if cell else pl.Tensor(1.0)

    def branch(x: Any) -> Any:
        if decide(limit):
            return x
        return -x

    jitted = pl.jit(branch)
    x = pl.Tensor([2.0])
    with pytest.warns(TraceWarning, match="from outside, becomes part of the compiled") as caught:
        assert jitted(x).item() == 2.0
    assert caught[0].filename == __file__
    lines, first = inspect.getsourcelines(
        test_it_warns_with_the_line_and_compiles_again_when_it_changes
    )
    assert first <= caught[0].lineno <= first + len(lines) or decide is not bool
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(40):  # direct calls too
            assert jitted(x).item() == 2.0
    if cell:
        limit.assign_(0.0)
    else:
        limit -= 1
    with pytest.warns(TraceWarning):
        assert jitted(x).item() == -2.0


def test_no_warning_where_the_function_is_recorded_each_time() -> None:
    def branch(x: Any) -> Any:
        return x * 2 if LIMIT.item() > 0 else x

    assert pl.grad(branch)(pl.Tensor(3.0)).item() == 2.0


def test_converted_functions_do_not_look() -> None:
    limit = pl.Buffer(1.0)

    @pl.jit(convert=True)
    def branch(x: Any) -> Any:
        if limit.item() > 0:
            return x
        return -x

    x = pl.Tensor(2.0)
    assert branch(x).item() == 2.0
    limit.assign_(-1.0)
    assert branch(x).item() == -2.0
    assert branch.explain().count("because") == 1
