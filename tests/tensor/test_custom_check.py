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


def test_operators_on_complex_numbers() -> None:
    z = rand(5) + np.complex64(1j) * rand(5)

    def rules(conjugated: bool) -> dict[str, Any]:
        def vjp(inputs: Any, outputs: Any, cotangents: Any) -> Any:
            slope = inputs[0] * 2
            return cotangents[0] * (slope.conj() if conjugated else slope)

        return {"vjp": vjp, "jvp": lambda i, o, t: t[0] * i[0] * 2}

    op = extend.custom_op("test_check_square", "(n) -> (n)", reference=np.square, **rules(True))
    assert extend.check(op, z) == ("jit", "vmap", "jvp", "vjp")
    bad = extend.custom_op("test_check_square2", "(n) -> (n)", reference=np.square, **rules(False))
    with pytest.raises(VerifyError, match="test_check_square2: vjp gives another result"):
        extend.check(bad, z)

    @extend.custom_op("test_check_complex_body")
    def body(x: pl.Tensor, y: pl.Tensor) -> Any:
        return pl.exp(x) * y.conj(), pl.abs(x)

    assert extend.check(body, z, z) == ("jit", "vmap", "jvp", "vjp")


def test_a_derivative_alone_is_transposed_with_its_conjugate() -> None:
    op = extend.custom_op(
        "test_check_square3", "(n) -> (n)", reference=np.square, jvp=lambda i, o, t: t[0] * i[0] * 2
    )
    z = pl.Tensor([1 + 2j, 3 - 1j])
    found = pl.grad(lambda v: pl.sum(pl.abs(op(v)) ** 2))(z)
    want = pl.grad(lambda v: pl.sum(pl.abs(v * v) ** 2))(z)
    np.testing.assert_allclose(found.numpy(), want.numpy(), rtol=1e-5)
