from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import (
    broadcast_shapes,
    check_shape,
    normalize_axes,
    normalize_axis,
    size_of,
)

_SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=4).map(tuple), min_size=1, max_size=3)


@given(_SHAPES)
def test_broadcasting_is_numpys(shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            broadcast_shapes("add", *shapes)
    else:
        assert broadcast_shapes("add", *shapes) == expected


def test_the_axis_and_the_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"add: .*axis -1, got a \(2, 3\) and b \(4,\)"):
        broadcast_shapes("add", (2, 3), (4,))


def test_axes_are_made_sorted_and_positive() -> None:
    assert normalize_axes("sum", None, (2, 3, 4)) == (0, 1, 2)
    assert normalize_axes("sum", (-1, 0), (2, 3, 4)) == (0, 2)
    assert normalize_axes("sum", -2, (2, 3, 4)) == (1,)
    assert normalize_axis("sum", -3, (2, 3, 4)) == 0


@pytest.mark.parametrize(
    ("axes", "message"), [((0, -3), "named twice"), (3, "axis must be in"), ((-4,), "got axis -4")]
)
def test_wrong_axes_are_refused(axes: int | tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        normalize_axes("sum", axes, (2, 3, 4))


def test_sizes() -> None:
    assert (size_of(()), size_of((2, 0, 3)), size_of((2, 3))) == (1, 0, 6)
    assert check_shape("zeros", np.array([2, 3]).tolist()) == (2, 3)
    with pytest.raises(ArgumentError, match="sizes must be >= 0"):
        check_shape("zeros", (2, -1))
