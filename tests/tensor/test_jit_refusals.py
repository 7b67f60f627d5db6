"""What cannot be recorded is refused: the user's line, what happened, and what to write instead."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import TraceError
from pellucid.tensor.box import STATE

A = np.arange(6, dtype=np.float32).reshape(2, 3)
LINE = r"\(at test_jit_refusals.py:\d+\)"


def branch(x: pl.Tensor) -> pl.Tensor:
    if x.sum() > 0:
        return x
    return -x


def loop(x: pl.Tensor) -> pl.Tensor:
    while x.max() < 10:
        x = x * 2
    return x


def jitted(fn: Any) -> Any:
    return pl.jit(lambda x: fn(x) if fn is not None else x)  # max has no signature


@pytest.mark.parametrize(
    ("fn", "what", "instead"),
    [
        (branch, "bool", r"jit\(convert=True\), use .*where\(condition, a, b\), or make"),
        (loop, "bool", "where"),
        (lambda x: x if x.any() else -x, "bool", "where"),
        (lambda x: 1.0 in x, "bool", "where"),
        (max, "bool", "where"),
        (lambda x: float(x.sum()), "float", "static_argnames"),
        (lambda x: int(x.sum()), "int", "static_argnames"),
        (lambda x: [1, 2][x.argmax()], "index", "take"),
        (lambda x: x.sum().item(), "item", "after the function has returned"),
        (pl.Tensor.tolist, "tolist", "after the function has returned"),
        (pl.Tensor.numpy, "numpy", "after the function has returned"),
        (np.asarray, "numpy", "after the function has returned"),
        (lambda x: np.sin(x) + 1, "numpy", "after the function has returned"),
        (np.from_dlpack, "dlpack", "after the function has returned"),
        (lambda x: f"{x.sum():.2f}", "format", "after the function has returned"),
        (lambda x: pl.Tensor(x, "float64"), "numpy", ""),
        (copy.deepcopy, "copy", r"x\.clone"),
    ],
)
@pytest.mark.parametrize("transform", [jitted, pl.grad, pl.vmap])
def test_contents_are_not_there_while_recording(
    fn: Any, what: str, instead: str, transform: Any
) -> None:
    with pytest.raises(
        TraceError, match=f"{what}: .*no value yet.* got tensor .*Fix: .*{instead}"
    ) as e:
        transform(fn)(pl.Tensor(A))
    assert what == "copy" or "test_jit_refusals.py:" in e.value.source
    assert STATE.trace is None


def test_the_line_is_the_users() -> None:
    with pytest.raises(TraceError) as e:
        pl.jit(branch)(pl.Tensor(A))
    line = branch.__code__.co_firstlineno + 1
    assert f"(at test_jit_refusals.py:{line})" in str(e.value)


def test_lines_of_code_without_a_file() -> None:
    names: dict[str, Any] = {}
    exec("def made(x):\n    return float(x.sum())", names)
    with pytest.raises(TraceError, match=r"\(at <string>:2\)"):
        pl.jit(names["made"])(pl.Tensor(A))


def test_masks_select_a_number_of_elements_that_is_not_known() -> None:
    with pytest.raises(TraceError, match=r"getitem: how many elements.*where\(mask, x, other\)"):
        pl.jit(lambda x: x[x > 0])(pl.Tensor(A))


def test_what_works_while_recording(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: pl.Tensor) -> pl.Tensor:
        print(x)
        rows = list(x)
        assert len(x) == len(rows) == 2
        assert (x.shape, x.dtype, x.ndim, x.size) == ((2, 3), pl.float32, 2, 6)
        first, second = x
        return sum(rows, pl.zeros(3)) + first * [1.0, 2.0, 3.0] + np.ones(3, np.float32) + second

    expected = A.sum(0) + A[0] * [1, 2, 3] + 1 + A[1]
    np.testing.assert_array_equal(pl.jit(f)(pl.Tensor(A)).numpy(), expected)
    assert capsys.readouterr().out == "Tensor(f32[2, 3], traced)\n"


def test_constants_are_not_written() -> None:
    table = pl.Tensor([1.0, 2.0, 3.0])
    message = rf"an in-place write to a tensor captured as a constant, got tensor f32\[3\] {LINE}"

    def item(x: pl.Tensor) -> pl.Tensor:
        table[0] = 5.0
        return x + table

    def whole(x: pl.Tensor) -> pl.Tensor:
        nonlocal table
        table += 1.0
        return x + table

    for fn in (item, whole):
        with pytest.raises(
            TraceError, match=message + r".*pass it as an argument.*pellucid.Buffer"
        ):
            pl.jit(fn)(pl.Tensor(A))
        assert table.tolist() == [1.0, 2.0, 3.0]


def test_static_numbers_are_python_numbers() -> None:
    f = pl.jit(lambda x, n: [x] * n if n > 1 else x, static_argnames=("n",))
    assert len(f(pl.Tensor(A), 3)) == 3
    with pytest.raises(TraceError, match="make the argument static with static_argnames"):
        pl.jit(lambda x, n: [x] * n if n > 1 else x)(pl.Tensor(A), 3)
