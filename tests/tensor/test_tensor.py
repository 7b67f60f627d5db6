from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ShapeError, TraceError


def test_one_element_formats_like_a_number() -> None:
    assert f"{pl.Tensor(3.14159):.2f} {pl.Tensor([7]):>3}" == "3.14   7"
    assert f"{pl.ones(2)}" == str(pl.ones(2))
    with pytest.raises(ShapeError, match="format: needs exactly one element"):
        format(pl.ones(2), ".2f")


def test_nothing_equals_none() -> None:
    x = pl.ones(2)
    answers: list[object] = [x == None, x != None]  # noqa: E711  # what is tested
    assert answers == [False, True]


def test_an_argument_is_not_changed_behind_the_callers_back() -> None:
    def overwrite(x: pl.Tensor) -> pl.Tensor:
        x[0] = 9.0
        return x.sum()

    def increase(x: pl.Tensor) -> pl.Tensor:
        x += 1.0
        return x.sum()

    for fn in (overwrite, increase):
        for transformed in (pl.jit(fn), pl.grad(fn)):
            x = pl.ones(3)
            with pytest.raises(TraceError, match=r"in-place: .*its argument.*x\.clone"):
                transformed(x)


def test_copies_and_results_may_be_changed_in_place() -> None:
    @pl.jit
    def step(x: pl.Tensor) -> pl.Tensor:
        x = x.clone()
        x[0] = 9.0
        y = x * 2.0
        y += 1.0
        return y

    x = pl.ones(2)
    np.testing.assert_array_equal(step(x).numpy(), [19.0, 3.0])
    np.testing.assert_array_equal(x.numpy(), [1.0, 1.0])
