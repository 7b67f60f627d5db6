"""`matmul`, `tensordot`, `vecdot`, `einsum` and diagonals against NumPy; their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import bfloat16, bool_, float32
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from tests.ops.gradient import grad
from tests.ops.records import Array, run1


def _random(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).normal(size=shape)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (6, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
    ],
)  # fmt: skip
def test_matmul_is_numpys(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = _random(*a), _random(*b)
    got = run1(ops.matmul, x, y)
    expected = np.asarray(x @ y)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def _input(builder: GraphBuilder, *shape: int) -> Value:
    return builder.input(TensorType(shape, float32))


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        ((2, 3), (4, 3), r"inner dims must match, got a f32\[2, 3\] and b f32\[4, 3\]. Fix: trans"),
        ((2, 3), (2, 5), r"inner dims must match, .* Fix: transpose a"),
        ((2, 3), (), "operands need an axis.*use multiply for scalars"),
        ((2, 1, 3), (5, 3, 1), "shapes do not broadcast"),
    ],
)
def test_matmul_errors_name_the_fix(a: tuple[int, ...], b: tuple[int, ...], text: str) -> None:
    with GraphBuilder() as builder:
        x, y = _input(builder, *a), _input(builder, *b)
        with pytest.raises(ShapeError, match=f"matmul: {text}"):
            ops.matmul(x, y)


def test_matmul_of_bools_is_refused() -> None:
    with GraphBuilder() as builder:
        x = builder.input(TensorType((2, 2), bool_))
        with pytest.raises(DTypeError, match="matmul: takes numbers, not bool"):
            ops.matmul(x, x)


def test_integer_matmul_is_exact() -> None:
    x = np.array([[2**40, 1]], np.int64)
    np.testing.assert_array_equal(run1(ops.matmul, x, x.T), x @ x.T)


def test_half_matmul_adds_in_float32() -> None:
    x = np.ones((1, 4096), np.float16)
    assert run1(ops.matmul, x, x.T).item() == 4096


@pytest.mark.parametrize("axes", [0, 1, 2, [[0, 2], [1, 0]], [[-1], [-3]]])
def test_tensordot_is_numpys(axes: Any) -> None:
    x, y = _random(3, 2, 4), _random(4, 3, 5) if axes != 2 else _random(2, 4, 5)
    np.testing.assert_allclose(
        run1(lambda a, b: ops.tensordot(a, b, axes), x, y), np.tensordot(x, y, axes)
    )


def test_vecdot_and_outer() -> None:
    x, y = _random(2, 1, 4), _random(3, 4)
    np.testing.assert_allclose(run1(ops.vecdot, x, y), (x * y).sum(-1))
    np.testing.assert_allclose(run1(ops.outer, x, y), np.outer(x, y))


EINSUMS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij,jk", ((2, 3), (3, 4))),
    ("ba", ((2, 3),)),
    ("ij->ji", ((2, 3),)),
    ("ii", ((3, 3),)),
    ("ii->i", ((3, 3),)),
    ("iii->i", ((3, 3, 3),)),
    ("iij,jk->ik", ((3, 3, 2), (2, 4))),
    ("ij->", ((2, 3),)),
    ("ij,ij->", ((2, 3), (2, 3))),
    ("i,j->ij", ((2,), (3,))),
    ("bij,bjk->bik", ((5, 2, 3), (5, 3, 4))),
    ("...ij,...jk->...ik", ((5, 2, 3), (3, 4))),
    ("...ij,...jk->...ik", ((6, 1, 2, 3), (5, 3, 4))),
    ("...ij,...jk", ((5, 2, 3), (5, 3, 4))),
    ("...ii->...i", ((4, 3, 3),)),
    ("i...->...i", ((2, 3, 4),)),
    ("...,...->...", ((2, 3), (3,))),
    ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5))),
    ("bqhd,bkhd->bhqk", ((2, 3, 4, 5), (2, 6, 4, 5))),
    ("bhqk,bkhd->bqhd", ((2, 4, 3, 6), (2, 6, 4, 5))),
    ("ijk,ilm,njm,nlk,abc->", ((2, 2, 2), (2, 3, 2), (2, 2, 2), (2, 3, 2), (2, 2, 2))),
    ("ij , jk -> ki", ((2, 3), (3, 4))),
    (",ij->ij", ((), (2, 3))),
    ("ij,kj->ikj", ((2, 3), (4, 3))),
    ("i,i,i->i", ((3,), (3,), (3,))),
    ("ij,ij->ij", ((2, 1), (2, 3))),
]


@pytest.mark.parametrize(("subscripts", "shapes"), EINSUMS)
def test_einsum_is_numpys(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    arrays = [_random(*s) for s in shapes]
    got = run1(lambda *xs: ops.einsum(subscripts, *xs), *arrays)
    expected = np.asarray(np.einsum(subscripts, *arrays))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_einsum_gradient() -> None:
    x, y = _random(3, 3), _random(3, 4)
    got = grad(lambda a, b: ops.einsum("ii,ij->ij", a, b), x, y)
    np.testing.assert_allclose(got[0], np.diag(y.sum(1)))
    np.testing.assert_allclose(got[1], np.diag(x)[:, None] * np.ones_like(y))


@pytest.mark.parametrize(
    ("subscripts", "rule"),
    [
        ("ij->ij", "names 1 operands where there are 2"),
        ("ij,j1->i", "takes letters"),
        ("ij,jk->iz", "labels must be distinct and occur"),
        ("ij,jk->ii", "labels must be distinct and occur"),
        ("ij,jk->i->k", "takes letters|must be distinct"),
    ],
)
def test_einsum_refuses_bad_subscripts(subscripts: str, rule: str) -> None:
    with pytest.raises(ArgumentError, match=rule), GraphBuilder() as builder:
        ops.einsum(subscripts, _input(builder, 2, 3), _input(builder, 3, 4))


def test_einsum_refuses_shapes() -> None:
    with GraphBuilder() as builder:
        a, b = _input(builder, 2, 3), _input(builder, 4, 5)
        with pytest.raises(ShapeError, match="label 'j' of 'ij,jk->ik' stands for sizes 3 and 4"):
            ops.einsum("ij,jk->ik", a, b)
        with pytest.raises(ShapeError, match="one label per axis is needed"):
            ops.einsum("ijk,jk->ik", a, b)


@pytest.mark.parametrize("offset", [-4, -3, -1, 0, 1, 2, 4, 9])
def test_diagonal_is_numpys(offset: int) -> None:
    x = _random(2, 3, 4)
    np.testing.assert_array_equal(
        run1(lambda v: ops.diagonal(v, offset), x), np.diagonal(x, offset, 1, 2)
    )
    np.testing.assert_array_equal(
        run1(lambda v: ops.diagonal(v, offset, 2, 0), x), np.diagonal(x, offset, 2, 0)
    )
    np.testing.assert_allclose(run1(lambda v: ops.trace(v, offset), x), np.trace(x, offset, 1, 2))


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        (np.int8, np.int8, "int32"), (np.uint8, np.int8, "int32"), (np.uint8, np.uint8, "int32"),
        (np.int8, np.int8, "int64"), (np.int16, np.int8, "int32"), (np.int8, np.float32, "float32"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 1, 1), (0, 3, 2), (2, 0, 3), (7, 129, 5)])
def test_a_wider_result_is_exact(a: Any, b: Any, result: str, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    m, k, n = shape
    x, y = rng.choice([-128, 127, 3], (m, k)), rng.choice([-128, 127, -5], (k, n))
    x, y = x.astype(np.int64).astype(a), y.astype(np.int64).astype(b)
    got = run1(lambda p, q: ops.matmul(p, q, dtype=result), x, y)
    assert got.dtype == np.dtype(result)
    np.testing.assert_array_equal(got, x.astype(np.int64) @ y.astype(np.int64))


def test_a_narrower_result_is_refused() -> None:
    with GraphBuilder() as builder:
        x = _input(builder, 2, 2)
        with pytest.raises(DTypeError, match=r"matmul: the result's dtype must hold .* Fix: leave"):
            ops.matmul(x, x, dtype="int32")


def test_the_gradient_of_a_wider_product_has_the_operands_dtypes() -> None:
    x, y = _random(3, 4).astype(bfloat16.numpy), _random(4, 5).astype(np.float32)
    z = np.array([[3, -128]] * 5, np.int8)

    def product(a: Value, b: Value, c: Value) -> Value:
        return ops.matmul(ops.matmul(a, b, dtype="float32"), c, dtype="float32")

    dx, dy = grad(product, x, y, z)
    assert dx.dtype == bfloat16.numpy
    assert dy.dtype == np.float32
    ones = np.ones((3, 2), np.float32) @ z.T.astype(np.float32)
    np.testing.assert_allclose(dy, x.astype(np.float32).T @ ones, rtol=1e-5)
    np.testing.assert_allclose(dx.astype(np.float32), ones @ y.T, rtol=2e-2, atol=2)


def test_outer_products_keep_the_sign_of_zero() -> None:
    got = run1(ops.outer, np.array([0.0, 1.0]), np.array([-1.0, 2.0]))
    np.testing.assert_array_equal(np.signbit(got), [[True, False], [True, False]])
