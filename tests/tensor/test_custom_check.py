"""`check` finds what is wrong with an operator, and nothing where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import extend
from pellucid.core.errors import VerifyError
from tests.tensor.custom_ops import axpy_op, rand, smooth_op


def test_operators_that_keep_their_promises() -> None:
    whole = np.arange(6, dtype=np.int32)
    assert extend.check(axpy_op(), rand(3, 4), rand(3, 4), a=2.0) == ("jit", "vmap", "jvp", "vjp")
    assert extend.check(axpy_op(), whole, whole, a=2) == ("jit", "vmap")
    every = ("reference", "jit", "vmap", "jvp", "vjp")
    assert extend.check(smooth_op(name="test_checked"), rand(64)) == every

    @extend.custom_op("test_check_body")
    def body(x: pl.Tensor, y: pl.Tensor) -> Any:
        return x * pl.sigmoid(y), x.sum()

    assert extend.check(body, rand(4), rand(4)) == ("jit", "vmap", "jvp", "vjp")


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("jvp", {"vjp": lambda i, o, c: c[0] * pl.sin(i[0])}),
        ("vjp", {"vjp": lambda i, o, c: c[0] * 2.0, "jvp": lambda i, o, t: t[0] * pl.cos(i[0])}),
        ("vmap", {"batch": lambda inputs, batched, size: pl.cos(inputs[0])}),
    ],
)
def test_rules_that_are_wrong(name: str, rules: dict[str, Any]) -> None:
    op = extend.custom_op("test_check_rules", "(n) -> (n)", reference=np.sin, **rules)
    with pytest.raises(VerifyError, match=f"test_check_rules: {name} gives another result"):
        extend.check(op, rand(4))


def test_kernels_that_are_wrong() -> None:
    op = extend.custom_op(
        "test_check_kernel", "(n) -> (n)", {"float32": lambda x: x + np.float32(1)},
        reference=lambda x: x,
    )  # fmt: skip
    with pytest.raises(VerifyError, match="the reference gives another result 0, got difference 1"):
        extend.check(op, rand(4))
    calls = iter(range(100))
    op = extend.custom_op(
        "test_check_jit", "(n) -> (n)", reference=lambda x: x + x.dtype.type(next(calls))
    )
    with pytest.raises(VerifyError, match="jit gives another result 0"):
        extend.check(op, rand(4))
