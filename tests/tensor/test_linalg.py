"""`pellucid.linalg` against NumPy and PyTorch: values, derivatives, stacks, transforms, errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pellucid as pl
from pellucid import linalg
from tests.tensor.derivatives import check_derivatives, parts

Array = NDArray[Any]
RNG = np.random.default_rng(0)
DTYPES = ("float32", "float64", "complex64", "complex128")
TOLERANCE = {"float32": 2e-4, "complex64": 2e-4, "float64": 1e-9, "complex128": 1e-9}


def matrices(*shape: int, dtype: str = "float64", seed: int = 0) -> Array:
    """Random matrices, the square ones far from singular."""
    rng = np.random.default_rng(seed)
    made: Array = rng.normal(size=shape)
    if "complex" in dtype:
        made = made + 1j * rng.normal(size=shape)
    if len(shape) > 1 and shape[-1] == shape[-2]:
        made = made + 3 * np.eye(shape[-1])
    return made.astype(dtype)


def hermitian(*shape: int, dtype: str = "float64", seed: int = 0) -> Array:
    """Random Hermitian matrices."""
    x = matrices(*shape, dtype=dtype, seed=seed)
    return (x + np.conj(np.swapaxes(x, -1, -2))) / 2


def positive(*shape: int, dtype: str = "float64", seed: int = 0) -> Array:
    """Random positive definite matrices."""
    x = matrices(*shape, dtype=dtype, seed=seed)
    return x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(shape[-1], dtype=dtype)


def adjoint(x: Array) -> Array:
    """The conjugate transpose."""
    return np.conj(np.swapaxes(x, -1, -2))


def close(got: Any, want: Any, dtype: str = "float64") -> None:
    """Fails unless dtype, shape and contents agree."""
    want = np.asarray(want)
    assert got.shape == want.shape
    assert got.numpy().dtype == want.dtype
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


stacks = st.sampled_from([(), (2,), (2, 3), (0,), (1, 2)])
sides = st.integers(0, 5)
dtypes = st.sampled_from(DTYPES)
each = settings(max_examples=12, deadline=None)


# values ------------------------------------------------------------------------------------------


@each
@given(stack=stacks, n=sides, dtype=dtypes)
def test_square_functions_agree_with_numpy(stack: tuple[int, ...], n: int, dtype: str) -> None:
    x = matrices(*stack, n, n, dtype=dtype)
    t = pl.Tensor(x)
    close(linalg.inv(t), np.linalg.inv(x), dtype)
    close(linalg.det(t), np.linalg.det(x), dtype)
    for got, want in zip(linalg.slogdet(t), np.linalg.slogdet(x), strict=True):
        close(got, want, dtype)
    for power in (-2, -1, 0, 1, 2, 3, 6):
        close(linalg.matrix_power(t, power), np.linalg.matrix_power(x, power), dtype)
    p = positive(*stack, n, n, dtype=dtype)
    close(linalg.cholesky(pl.Tensor(p)), np.linalg.cholesky(p), dtype)
    close(linalg.cholesky(pl.Tensor(p), upper=True), adjoint(np.linalg.cholesky(p)), dtype)


@each
@given(stack=stacks, n=sides, dtype=dtypes)
def test_eigh_decomposes(stack: tuple[int, ...], n: int, dtype: str) -> None:
    x = hermitian(*stack, n, n, dtype=dtype)
    result = linalg.eigh(pl.Tensor(x))
    w, v = (part.numpy() for part in result)
    assert result.eigenvalues.dtype == pl.Tensor(w).dtype
    close(linalg.eigvalsh(pl.Tensor(x)), np.linalg.eigvalsh(x), dtype)
    close(pl.Tensor(w), np.linalg.eigvalsh(x), dtype)
    close(pl.Tensor((v * w[..., None, :]) @ adjoint(v)), x, dtype)


@each
@given(stack=stacks, m=sides, n=sides, dtype=dtypes, full=st.booleans())
def test_svd_decomposes(stack: tuple[int, ...], m: int, n: int, dtype: str, full: bool) -> None:
    x = matrices(*stack, m, n, dtype=dtype)
    u, s, vh = (part.numpy() for part in linalg.svd(pl.Tensor(x), full_matrices=full))
    for got, want in zip((u, s, vh), np.linalg.svd(x, full_matrices=full), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
    k = min(m, n)
    close(pl.Tensor((u[..., :k] * s[..., None, :]) @ vh[..., :k, :]), x, dtype)
    close(
        pl.Tensor(adjoint(u) @ u),
        np.broadcast_to(np.eye(u.shape[-1], dtype=dtype), (*stack, u.shape[-1], u.shape[-1])),
        dtype,
    )
    close(linalg.svdvals(pl.Tensor(x)), np.linalg.svd(x, compute_uv=False), dtype)


@each
@given(stack=stacks, m=sides, n=sides, dtype=dtypes, mode=st.sampled_from(["reduced", "complete"]))
def test_qr_decomposes(stack: tuple[int, ...], m: int, n: int, dtype: str, mode: str) -> None:
    x = matrices(*stack, m, n, dtype=dtype)
    result = linalg.qr(pl.Tensor(x), mode=mode)
    q, r = result.Q.numpy(), result.R.numpy()
    k = m if mode == "complete" else min(m, n)
    assert (q.shape, r.shape) == ((*stack, m, k), (*stack, k, n))
    close(pl.Tensor(q @ r), x, dtype)
    np.testing.assert_array_equal(r, np.triu(r))


@each
@given(stack=stacks, m=sides, n=sides, dtype=dtypes)
def test_functions_of_singular_values_agree(
    stack: tuple[int, ...], m: int, n: int, dtype: str
) -> None:
    x = matrices(*stack, m, n, dtype=dtype)
    t = pl.Tensor(x)
    close(linalg.pinv(t), np.linalg.pinv(x), dtype)
    close(linalg.pinv(t, rtol=0.3), np.linalg.pinv(x, rcond=0.3), dtype)
    close(linalg.matrix_rank(t), np.linalg.matrix_rank(x).astype(np.int64))
    limits = np.full(stack, 0.3)
    close(linalg.matrix_rank(t, rtol=limits), np.linalg.matrix_rank(x, rtol=0.3).astype(np.int64))


@each
@given(stack=stacks, n=st.integers(1, 4), k=st.integers(0, 3), dtype=dtypes)
def test_solve_agrees_with_numpy(stack: tuple[int, ...], n: int, k: int, dtype: str) -> None:
    a, one = matrices(*stack, n, n, dtype=dtype), matrices(n, n, dtype=dtype, seed=1)
    b, vector = matrices(*stack, n, k, dtype=dtype, seed=2), matrices(n, dtype=dtype, seed=3)
    close(linalg.solve(pl.Tensor(a), pl.Tensor(b)), np.linalg.solve(a, b), dtype)
    close(linalg.solve(pl.Tensor(one), pl.Tensor(b)), np.linalg.solve(one, b), dtype)
    close(linalg.solve(pl.Tensor(a), pl.Tensor(b[..., :1, :, :] if len(stack) > 1 else b)),
          np.linalg.solve(a, b[..., :1, :, :] if len(stack) > 1 else b), dtype)  # fmt: skip
    close(linalg.solve(pl.Tensor(a), pl.Tensor(vector)), np.linalg.solve(a, vector), dtype)
    for upper, cut in ((True, np.triu), (False, np.tril)):
        made = linalg.solve_triangular(pl.Tensor(a), pl.Tensor(b), upper=upper)
        close(made, np.linalg.solve(cut(a), b), dtype)
    close(
        linalg.solve_triangular(pl.Tensor(a), pl.Tensor(vector)),
        np.linalg.solve(np.tril(a), vector),
        dtype,
    )


def test_lstsq_solves_systems_of_any_shape() -> None:
    for m, n in ((5, 3), (3, 5), (4, 4)):
        a, b = matrices(m, n, seed=1), matrices(m, 2, seed=2)
        want = np.linalg.lstsq(a, b, rcond=None)[0]
        close(linalg.lstsq(pl.Tensor(a), pl.Tensor(b)), want)
        close(linalg.lstsq(pl.Tensor(a), pl.Tensor(b[:, 0])), want[:, 0])


@each
@given(
    shape=st.sampled_from([(3, 4), (2, 3, 4), (1, 1), (0, 3), (2, 0, 2)]),
    dtype=dtypes,
    keepdims=st.booleans(),
    ord=st.sampled_from(["fro", "nuc", 1, 2, math.inf]),
)
def test_matrix_norm_agrees(shape: tuple[int, ...], dtype: str, keepdims: bool, ord: Any) -> None:
    x = matrices(*shape, dtype=dtype)
    orders = [ord] if 0 in shape or isinstance(ord, str) else [ord, -ord]
    for each_ord in orders:
        want = np.linalg.matrix_norm(x, ord=each_ord, keepdims=keepdims)
        close(linalg.matrix_norm(pl.Tensor(x), ord=each_ord, keepdims=keepdims), want, dtype)


@each
@given(
    axis=st.sampled_from([None, 0, -1, (0, 2), (2, 1)]),
    dtype=dtypes,
    keepdims=st.booleans(),
    ord=st.sampled_from([0, 1, 2, 3, -1, -2, 0.5, 2.5, math.inf, -math.inf]),
)
def test_vector_norm_agrees(axis: Any, dtype: str, keepdims: bool, ord: float) -> None:
    x = matrices(2, 3, 4, dtype=dtype)
    want = np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)
    got = linalg.vector_norm(pl.Tensor(x), axis=axis, keepdims=keepdims, ord=ord)
    close(got, want.astype(x.real.dtype), dtype)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (2, 1)])
def test_norm_agrees(axis: Any) -> None:
    x = matrices(2, 3, 4)
    orders = (None,) if axis is None else (None, 1, 2, math.inf)
    for ord in orders:
        for keepdims in (False, True):
            want = np.linalg.norm(x, ord, axis, keepdims)
            close(linalg.norm(pl.Tensor(x), ord, axis, keepdims), want)
    close(linalg.norm(pl.Tensor(x[0]), "nuc"), np.linalg.norm(x[0], "nuc"))


@pytest.mark.parametrize("p", [None, 1, 2, -2, math.inf, "fro"])
def test_condition_numbers_agree(p: Any) -> None:
    x = matrices(2, 3, 3)
    close(linalg.cond(pl.Tensor(x), p), np.linalg.cond(x, p))
    assert linalg.cond(pl.Tensor(np.zeros((2, 2)) + np.eye(2)[0])).item() > 1e15


def test_multi_dot_takes_the_cheapest_order() -> None:
    shapes = [(2, 30), (30, 3), (3, 40), (40, 1)]
    x = [matrices(*s, seed=i) for i, s in enumerate(shapes)]
    close(linalg.multi_dot([pl.Tensor(a) for a in x]), np.linalg.multi_dot(x))
    ends = [x[0][0], *x[1:3], x[3][:, 0]]
    close(linalg.multi_dot([pl.Tensor(a) for a in ends]), np.linalg.multi_dot(ends))
    text = str(pl.jit(lambda *a: linalg.multi_dot(a)).lower(*[pl.Tensor(a) for a in x]).graph)
    assert "f64[3, 1]" in text  # the last two first


def test_expm_agrees_with_the_eigenvalues() -> None:
    for scale in (1e-3, 1.0, 30.0):
        x = hermitian(3, 3) * scale
        w, v = np.linalg.eigh(x)
        want = (v * np.exp(w)) @ v.T
        got = linalg.expm(pl.Tensor(x)).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * np.abs(want).max())
    both = np.stack([np.eye(2), np.full((2, 2), np.inf)])
    made = linalg.expm(pl.Tensor(both)).numpy()
    np.testing.assert_allclose(made[0], np.eye(2) * math.e)
    assert np.isnan(made[1]).all()


def test_norms_of_nothing_are_zero() -> None:
    x = pl.Tensor(np.zeros((3, 0)))
    for ord in ("fro", "nuc", 1, 2, math.inf):
        assert linalg.matrix_norm(x, ord=ord).item() == 0
    assert linalg.vector_norm(x).item() == 0
    assert linalg.matrix_rank(x).item() == 0


def test_cross_trace_diagonal_outer() -> None:
    a, b = matrices(2, 1, 3, seed=1), matrices(4, 3, seed=2)
    close(linalg.cross(pl.Tensor(a), pl.Tensor(b)), np.cross(a, b))
    ints = np.arange(6).reshape(3, 2)
    close(
        linalg.cross(pl.Tensor(ints), pl.Tensor(ints[:, ::-1].copy()), axis=-2),
        np.cross(ints, ints[:, ::-1], axis=0),
    )
    x = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    for offset in (-9, -1, 0, 2, 9):
        close(linalg.diagonal(pl.Tensor(x), offset=offset), np.diagonal(x, offset, -2, -1))
        close(
            linalg.trace(pl.Tensor(x), offset=offset), np.trace(x, offset, -2, -1).astype(np.int64)
        )
    close(linalg.trace(pl.Tensor(x), dtype="float64"), np.trace(x, 0, -2, -1, np.float64))
    close(linalg.outer(pl.Tensor(a[0, 0]), pl.Tensor(b[0])), np.outer(a[0, 0], b[0]))


def test_only_the_hermitian_part_counts() -> None:
    x = matrices(3, 3)
    both = (x + x.T) / 2 + 9 * np.eye(3)
    close(linalg.cholesky(pl.Tensor(x + 9 * np.eye(3))), np.linalg.cholesky(both))
    close(linalg.eigvalsh(pl.Tensor(x)), np.linalg.eigvalsh((x + x.T) / 2))


def test_integers_become_float32_and_single_precision_stays() -> None:
    x = np.array([[2, 1], [1, 3]])
    assert linalg.inv(pl.Tensor(x)).dtype == pl.float32
    assert linalg.solve(pl.Tensor(x), pl.Tensor(x.astype(np.float32))).dtype == pl.float32
    assert linalg.solve(pl.Tensor(x.astype(np.float32)), pl.Tensor(1.0 * x)).dtype == pl.float64


# derivatives -------------------------------------------------------------------------------------


def _spectral(x: Any) -> Any:
    w, v = linalg.eigh(x)
    return (v * pl.exp(w * 0.3)[..., None, :]) @ pl.matrix_transpose(pl.conj(v))


def _polar(x: Any) -> Any:
    u, s, vh = linalg.svd(x, full_matrices=False)
    return u @ vh, s, (u * pl.log1p(s)[..., None, :]) @ vh


def _null_spaces(x: Any) -> Any:
    u, _, vh = linalg.svd(x)
    k = min(x.shape[-2:])
    left, right = u[..., :, k:], vh[..., k:, :]
    return (
        left @ pl.matrix_transpose(pl.conj(left)),
        pl.matrix_transpose(pl.conj(right)) @ right,
    )


def _complement(x: Any) -> Any:
    q, r = linalg.qr(x, mode="complete")
    rest = q[..., :, x.shape[-1] :]
    return q[..., :, : x.shape[-1]], r, rest @ pl.matrix_transpose(pl.conj(rest))


SQUARE: dict[str, Callable[[Any], Any]] = {
    "cholesky": linalg.cholesky,
    "cholesky, upper": lambda x: linalg.cholesky(x, upper=True),
    "inv": linalg.inv,
    "det": linalg.det,
    "cofactors": linalg.cofactors,
    "slogdet": linalg.slogdet,
    "pinv": linalg.pinv,
    "eigvalsh": linalg.eigvalsh,
    "svdvals": linalg.svdvals,
    "function of eigh": _spectral,
    "functions of svd": _polar,
    "qr": linalg.qr,
    "power": lambda x: linalg.matrix_power(x, 5),
    "negative power": lambda x: linalg.matrix_power(x, -3),
    "solve, both sides": lambda x: linalg.solve(x, x @ x + 1),
    "solve, vector": lambda x: linalg.solve(
        x[0] if x.ndim > 2 else x, x[..., 0, :].reshape(-1)[:3]
    ),
    "solve_triangular, lower": lambda x: linalg.solve_triangular(x, x * x),
    "solve_triangular, upper": lambda x: linalg.solve_triangular(x, x * x, upper=True),
    "trace": linalg.trace,
    "expm": linalg.expm,
    "cond": linalg.cond,
    "cond, 1-norm": lambda x: linalg.cond(x, 1),
}
OBLONG: dict[str, Callable[[Any], Any]] = {
    "pinv": linalg.pinv,
    "svdvals": linalg.svdvals,
    "functions of svd": _polar,
    "null spaces of svd": _null_spaces,
    "qr": linalg.qr,
    "lstsq": lambda x: linalg.lstsq(x, x[..., :, :1] * 2 + 1),
    **{
        f"matrix norm {ord}": lambda x, ord=ord: linalg.matrix_norm(x, ord=ord)  # type: ignore[misc]  # a default binds
        for ord in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)
    },
    **{
        f"vector norm {ord}": lambda x, ord=ord: linalg.vector_norm(x, ord=ord, axis=-1)  # type: ignore[misc]  # as above
        for ord in (1, 2, 3, 2.5, -1, math.inf, -math.inf)
    },
    "cross": lambda x: linalg.cross(x.reshape(-1)[:3], x.reshape(-1)[3:6]),
}
KINDS = ("float64", "complex128")


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("name", SQUARE)
def test_derivatives_for_square_matrices(name: str, dtype: str) -> None:
    check_derivatives(SQUARE[name], positive(3, 3, dtype=dtype) / 3)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
@pytest.mark.parametrize("name", OBLONG)
def test_derivatives_for_other_matrices(name: str, shape: tuple[int, int], dtype: str) -> None:
    check_derivatives(OBLONG[name], matrices(*shape, dtype=dtype))


@pytest.mark.parametrize("dtype", KINDS)
def test_derivatives_of_a_complete_qr(dtype: str) -> None:
    check_derivatives(_complement, matrices(4, 2, dtype=dtype))


@pytest.mark.parametrize(
    "name", ["cholesky", "inv", "det", "function of eigh", "qr", "solve, both sides"]
)
def test_derivatives_for_stacks(name: str) -> None:
    check_derivatives(SQUARE[name], positive(2, 3, 3) / 3)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_det_of_singular_matrices_has_its_derivatives(rank: int, dtype: str) -> None:
    x = matrices(4, rank, dtype=dtype) @ matrices(rank, 4, dtype=dtype, seed=1)
    x = x.reshape(4, 4)
    check_derivatives(linalg.det, x, rtol=1e-4)
    gradient = pl.grad(lambda x: pl.real(linalg.det(x)))(pl.Tensor(x)).numpy()
    if rank < 3:
        np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_repeated_singular_values_do_no_harm_where_they_need_not() -> None:
    x = pl.Tensor(np.eye(3))
    for fn in (
        lambda x: linalg.svdvals(x).sum(),
        lambda x: linalg.eigvalsh(x).sum(),
        lambda x: linalg.matrix_norm(x, ord="nuc"),
        lambda x: linalg.svd(x).S.sum(),
        lambda x: linalg.eigh(x).eigenvalues.sum(),
        lambda x: linalg.pinv(x).sum() * -1,
    ):
        gradient = pl.grad(fn)(x).numpy()
        expected = np.ones((3, 3)) if gradient[0, 1] > 0.5 else np.eye(3)
        np.testing.assert_allclose(gradient, expected, atol=1e-12)
    leaf = pl.Tensor(np.eye(3), requires_grad=True)
    linalg.svd(leaf).S.sum().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.numpy(), np.eye(3), atol=1e-12)


def test_norms_have_the_gradient_zero_at_zero() -> None:
    x = pl.Tensor(np.zeros((2, 3)))
    for fn in (linalg.vector_norm, linalg.matrix_norm):
        assert (pl.grad(fn)(x).numpy() == 0).all()


# transforms --------------------------------------------------------------------------------------


JITTED = [
    "cholesky",
    "inv",
    "slogdet",
    "function of eigh",
    "functions of svd",
    "qr",
    "solve, both sides",
]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("name", JITTED)
def test_compiled_results_and_gradients_are_the_eager_ones(name: str, dtype: str) -> None:
    fn, x = SQUARE[name], pl.Tensor(positive(3, 3, dtype=dtype))

    def loss(x: Any) -> Any:
        return sum(((pl.abs(y) ** 2).sum() for y in parts(fn(x))), pl.Tensor(0.0))

    value, gradient = pl.jit(pl.value_and_grad(loss))(x)
    np.testing.assert_allclose(value.numpy(), loss(x).numpy(), rtol=1e-12)
    np.testing.assert_allclose(gradient.numpy(), pl.grad(loss)(x).numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", JITTED)
def test_vmap_agrees_with_stacks(name: str) -> None:
    fn, x = SQUARE[name], pl.Tensor(positive(4, 3, 3))
    for a, b in zip(parts(pl.vmap(fn)(x)), parts(fn(x)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


def test_vmap_of_right_sides_factorises_once() -> None:
    a, b = pl.Tensor(matrices(3, 3)), pl.Tensor(matrices(5, 3, seed=1))
    mapped = pl.vmap(linalg.solve, in_axes=(None, 0))(a, b)
    np.testing.assert_allclose(
        mapped.numpy(), np.linalg.solve(a.numpy(), b.numpy().T).T, rtol=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 5, 32, 33])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_systems_agree_with_lapack(n: int, dtype: str) -> None:
    """Up to 32 rows by generated code, with rows to exchange: the diagonal is zeros."""
    rng = np.random.default_rng(n)
    a = (rng.normal(size=(3, n, n)) * (1 - np.eye(n) * (n > 1))).astype(dtype)
    b = rng.normal(size=(3, n, 2)).astype(dtype)
    x = pl.jit(linalg.solve)(pl.Tensor(a), pl.Tensor(b)).numpy()
    y = pl.jit(linalg.inv)(pl.Tensor(a)).numpy()
    for made, right in ((x, b), (y, np.eye(n))):
        residual = np.abs(a @ made - right).max() / (np.abs(a).max() * np.abs(made).max())
        assert made.dtype == a.dtype
        assert residual < 100 * np.finfo(dtype).eps


@pytest.mark.parametrize("n", [1, 2, 3, 4, 32, 33])
def test_compiled_determinants_agree_with_lapack(n: int) -> None:
    x = RNG.normal(size=(4, n, n)) * (1 - np.eye(n) * (n > 1))
    x[1, -1] = x[1, 0] if n > 1 else 0
    t = pl.Tensor(x)
    scale = np.abs(np.linalg.det(x)).max()
    np.testing.assert_allclose(pl.jit(linalg.det)(t).numpy(), np.linalg.det(x), atol=1e-12 * scale)
    regular = [0, 2, 3]
    for got, want in zip(pl.jit(linalg.slogdet)(t), np.linalg.slogdet(x), strict=True):
        np.testing.assert_allclose(got.numpy()[regular], want[regular], rtol=1e-10)
    slope = pl.grad(lambda x: linalg.det(x).sum())
    np.testing.assert_allclose(pl.jit(slope)(t).numpy(), slope(t).numpy(), atol=1e-11 * scale)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 33])
def test_compiled_determinants_of_singular_matrices_are_zero(n: int) -> None:
    rank_one, shifted = np.ones((n, n)), np.triu(np.ones((n, n)), 1)
    x = np.stack([np.zeros((n, n)), rank_one if n > 1 else shifted, shifted, np.eye(n)])
    assert pl.jit(linalg.det)(pl.Tensor(x)).tolist() == [0, 0, 0, 1]
    sign, logabsdet = pl.jit(linalg.slogdet)(pl.Tensor(x))
    assert sign.tolist() == [0, 0, 0, 1]
    assert logabsdet.tolist() == [-math.inf] * 3 + [0]


@pytest.mark.parametrize("n", [1, 2, 5, 32, 33])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_factors_agree_with_lapack(n: int, dtype: str) -> None:
    x = positive(3, n, n, dtype=dtype)
    factor = pl.jit(linalg.cholesky)(pl.Tensor(x)).numpy()
    np.testing.assert_array_equal(factor, np.tril(factor))
    residual = np.abs(factor @ np.swapaxes(factor, -1, -2) - x).max() / np.abs(x).max()
    assert residual < 10 * np.finfo(dtype).eps
    x[1] = -x[1]
    with pytest.raises(linalg.LinAlgError, match=r"must be positive definite, .* failed at x\[1\]"):
        pl.jit(linalg.cholesky)(pl.Tensor(x))


def test_a_small_system_in_a_loop_raises_out_of_it() -> None:
    @pl.jit
    def shrink(a: Any) -> Any:
        return pl.fori_loop(0, 5, lambda i, a: linalg.inv(a - pl.eye(2, dtype="float64")), a)

    with pytest.raises(linalg.LinAlgError, match="inv: the matrix is singular"):
        shrink(pl.Tensor(np.eye(2)))
    assert np.isfinite(shrink(pl.Tensor(5 * np.eye(2))).numpy()).all()


def test_a_mapped_singular_matrix_is_found() -> None:
    x = np.stack([np.eye(2), np.ones((2, 2)), np.eye(2)])
    mapped = pl.jit(pl.vmap(lambda x: linalg.solve(x, x[0])))
    with pytest.raises(linalg.LinAlgError, match=r"solve: .* failed at x\[1\]"):
        mapped(pl.Tensor(x))


@pytest.mark.parametrize("name", [*JITTED, "pinv", "negative power", "trace"])
def test_one_program_serves_stacks_and_matrices_of_any_size(name: str) -> None:
    def slope(x: Any) -> Any:
        return pl.grad(lambda x: sum(y.sum() for y in parts(SQUARE[name](x))))(x)

    for axes, shapes in (
        ({0: "stack"}, [(2, 3, 3), (1, 3, 3), (5, 3, 3)]),
        ({1: "n", 2: "n"}, [(2, 3, 3), (2, 2, 2), (2, 5, 5)]),
    ):
        jitted = pl.jit(slope, dynamic={"x": axes})
        for shape in shapes:
            x = pl.Tensor(positive(*shape) / 3)
            np.testing.assert_allclose(jitted(x).numpy(), slope(x).numpy(), rtol=1e-7, atol=1e-9)
        assert jitted.explain().startswith("slope: compiled 1 time(s)")


def test_results_are_named_under_jit_too() -> None:
    result = pl.jit(linalg.svd)(pl.Tensor(matrices(3, 2)))
    assert result.U.shape == (3, 3)
    assert result._fields == ("U", "S", "Vh")


# errors ------------------------------------------------------------------------------------------


def test_singular_matrices_are_named() -> None:
    x = np.stack([np.eye(2), np.ones((2, 2))])
    text = r"inv: the matrix is singular, got x f64\[2, 2, 2\] and failed at x\[1\]\. Fix: use pinv"
    with pytest.raises(linalg.LinAlgError, match=text):
        linalg.inv(pl.Tensor(x))
    with pytest.raises(linalg.LinAlgError, match=text):
        pl.jit(linalg.inv)(pl.Tensor(x))
    with pytest.raises(np.linalg.LinAlgError, match="solve: the matrix is singular"):
        linalg.solve(pl.Tensor(x), pl.Tensor(x))


def test_what_is_not_positive_definite_is_refused() -> None:
    text = r"cholesky: the matrix must be positive definite, got x f64\[2, 2\]"
    for fn in (linalg.cholesky, pl.jit(linalg.cholesky)):
        with pytest.raises(linalg.LinAlgError, match=text):
            fn(pl.Tensor(-np.eye(2)))


@pytest.mark.parametrize("fn", [linalg.svd, linalg.svdvals, linalg.pinv])
def test_matrices_that_are_not_finite_are_refused(fn: Callable[..., Any]) -> None:
    x = np.full((2, 2), np.nan)
    with pytest.raises(linalg.LinAlgError, match="must be finite"):
        fn(pl.Tensor(x))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: linalg.inv(pl.zeros((2, 3))), r"inv: the matrices must be square, got x f32\[2"),
        (lambda: linalg.det(pl.zeros(3)), r"det: takes matrices, at least two axes"),
        (lambda: linalg.qr(pl.zeros((2, 2)), mode="raw"), "qr: no such mode, got mode 'raw'"),
        (lambda: linalg.svd(pl.zeros((2, 2), "float16")), "svd: takes float32, float64"),
        (lambda: linalg.solve(pl.eye(2), pl.zeros((3, 1))), "solve: b needs as many rows as a has"),
        (lambda: linalg.solve(pl.eye(2), pl.zeros((3, 2))), r"b\[\.\.\., None\]"),
        (lambda: linalg.matrix_norm(pl.eye(2), ord=3), "matrix_norm: no such norm, got ord 3"),
        (lambda: linalg.vector_norm(pl.eye(2), ord="fro"), "vector_norm: ord must be a number"),
        (lambda: linalg.matrix_power(pl.eye(2), 0.5), "matrix_power: the power must be an integer"),
        (lambda: linalg.cross(pl.zeros(2), pl.zeros(2)), "cross: both need 3 elements"),
        (lambda: linalg.cross(pl.zeros((3, 1)), pl.zeros((1, 3)), axis=-1), "cross: both need 3"),
        (lambda: linalg.outer(pl.eye(2), pl.zeros(2)), "outer: takes two vectors"),
        (lambda: linalg.norm(pl.zeros((2, 2, 2)), 1), "norm: takes one axis or two"),
        (lambda: linalg.multi_dot([pl.eye(2)]), "multi_dot: takes two matrices or more"),
        (lambda: linalg.lstsq(pl.eye(2), pl.zeros(3)), "lstsq: b needs as many rows"),
        (lambda: linalg.trace(pl.zeros(2)), "trace: takes matrices"),
        (lambda: linalg.pinv(pl.eye(2), rtol=pl.zeros((), "bool")), "pinv: rtol must be a real"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(pl.PellucidError, match=text):
        call()
