"""Complex tensors: making them, looking at them, refusing what they are not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import DTypeError

RNG = np.random.default_rng(5)


def test_complex_data_is_complex64_unless_numpy_says_otherwise() -> None:
    assert pl.Tensor([1 + 2j]).dtype == pl.complex64
    assert pl.Tensor(2j).dtype == pl.complex64
    assert pl.asarray([1.0, 2j], dtype=pl.complex128).dtype == pl.complex128
    assert pl.Tensor(np.array([1j])).dtype == pl.complex128
    assert pl.zeros((2,), dtype="complex64").tolist() == [0j, 0j]
    assert pl.full((2,), 1 - 1j).tolist() == [1 - 1j, 1 - 1j]


def test_one_element_is_a_python_number() -> None:
    x = pl.Tensor(1.5 - 2j)
    assert (x.item(), complex(x), bool(x)) == (1.5 - 2j, 1.5 - 2j, True)
    assert complex(pl.Tensor(3.0)) == 3.0
    with pytest.raises(TypeError):
        float(x)


def test_it_prints() -> None:
    assert repr(pl.Tensor([1 + 2j])) == "Tensor([1.+2.j], dtype=complex64)"


def test_real_numbers_become_complex_and_not_back() -> None:
    x = pl.Tensor([1.0, 2.0]).astype(pl.complex128)
    assert x.tolist() == [1, 2]
    assert pl.Tensor([0j, 1j]).astype(pl.bool_).tolist() == [False, True]
    with pytest.raises(DTypeError, match=r"complex numbers do not become real ones.*real\(x\)"):
        x.astype(pl.float64)
    with pytest.raises(DTypeError, match="complex numbers do not become real ones"):
        pl.Tensor(np.array([1j]), dtype=pl.float32)
    with pytest.raises(DTypeError, match="a complex number needs a complex dtype"):
        pl.full((2,), 1j, dtype=pl.float32)


def test_gradients_are_allowed() -> None:
    assert pl.Tensor([1j], requires_grad=True).requires_grad


ORDERED: dict[str, Callable[[pl.Tensor], Any]] = {
    "less": lambda z: z < 1j,
    "greater_equal": lambda z: z >= 1.0,
    "maximum": lambda z: pl.maximum(z, z),
    "clip": lambda z: pl.clip(z, 0, 1),
    "max": lambda z: z.max(),
    "argmin": pl.argmin,
    "sort": pl.sort,
    "argsort": pl.argsort,
    "top_k": lambda z: pl.top_k(z, 1),
    "floor": pl.floor,
    "trunc": pl.trunc,
    "floor_divide": lambda z: z // 2,
    "remainder": lambda z: z % 2,
    "atan2": lambda z: pl.atan2(z, z),
    "hypot": lambda z: pl.hypot(z, z),
    "logaddexp": lambda z: pl.logaddexp(z, z),
    "copysign": lambda z: pl.copysign(z, z),
    "signbit": pl.signbit,
    "complex": lambda z: pl.complex(z, z),
    "erf": pl.erf,
    "bitwise_and": lambda z: z & z,
    "softmax": pl.softmax,
    "relu": pl.relu,
}


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("wrap", [lambda f: f, pl.jit], ids=["eager", "jit"])
def test_what_needs_an_order_is_refused(name: str, wrap: Any) -> None:
    with pytest.raises(DTypeError, match=r"takes real numbers|not defined on complex"):
        wrap(ORDERED[name])(pl.Tensor([1j, 2.0]))


def _words(z: complex) -> list[str]:
    """Both parts as text: with the signs of their zeros, and NaN equal to itself."""
    return [repr(x) for x in (z.real, z.imag)]


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("name", "z", "want"),
    [
        ("exp", complex(-INF, 2.0), complex(-0.0, 0.0)),
        ("exp", complex(INF, 0.0), complex(INF, 0.0)),
        ("expm1", complex(INF, 0.0), complex(INF, 0.0)),
        ("expm1", complex(-INF, INF), complex(-1, 0)),
        ("expm1", complex(INF, INF), complex(INF, NAN)),
        ("expm1", complex(NAN, 0.0), complex(NAN, 0.0)),
        ("expm1", complex(0.0, -0.0), complex(0.0, -0.0)),
        ("log", complex(-0.0, 0.0), complex(-INF, math.pi)),
        ("log1p", complex(-1.0, 0.0), complex(-INF, 0.0)),
        ("log1p", complex(-INF, 1.0), complex(INF, math.pi)),
        ("log1p", complex(INF, NAN), complex(INF, NAN)),
        ("sqrt", complex(-2.0, -0.0), complex(0.0, -math.sqrt(2.0))),
        ("sqrt", complex(NAN, INF), complex(INF, INF)),
        ("sinh", complex(0.0, NAN), complex(0.0, NAN)),
        ("tanh", complex(INF, 1.0), complex(1.0, 0.0)),
        ("tanh", complex(INF, 2.0), complex(1.0, 0.0)),
        ("tanh", complex(-INF, -2.0), complex(-1.0, -0.0)),
        ("conj", complex(-0.0, 0.0), complex(-0.0, -0.0)),
        ("acos", complex(0.0, NAN), complex(math.pi / 2, NAN)),
        ("sign", complex(0.0, 0.0), complex(0.0, 0.0)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrap", [lambda f: f, pl.jit], ids=["eager", "jit"])
def test_special_values_are_the_standards(name: str, z: complex, want: complex, wrap: Any) -> None:
    made = wrap(getattr(pl, name))(pl.Tensor(np.array([z])))
    assert _words(complex(made[0])) == _words(want)


def test_functions_near_0_keep_their_digits() -> None:
    z = np.array([1e-9 + 1e-9j, 1e-5 - 1e-3j, -3e-12j, 2e-8 + 0j])
    series = z + z**2 / 2 + z**3 / 6 + z**4 / 24
    np.testing.assert_allclose(pl.expm1(pl.Tensor(z)).numpy(), series, rtol=1e-14)
    series = z - z**2 / 2 + z**3 / 3 - z**4 / 4
    np.testing.assert_allclose(pl.log1p(pl.Tensor(z)).numpy(), series, rtol=1e-11)


def test_reductions_and_statistics() -> None:
    z = RNG.normal(size=(3, 4)) + 1j * RNG.normal(size=(3, 4))
    x = pl.Tensor(z)
    for name in ("sum", "prod", "mean", "var", "std"):
        got = getattr(pl, name)(x, axis=1).numpy()
        np.testing.assert_allclose(got, getattr(np, name)(z, axis=1), rtol=1e-12)
    assert pl.var(x).dtype == pl.float64
    z[0, 0] = 0
    x = pl.Tensor(z)
    assert (pl.count_nonzero(x).item(), pl.all(x).item(), pl.any(x).item()) == (11, False, True)
    np.testing.assert_allclose(pl.vecdot(x, x).numpy(), (np.conj(z) * z).sum(-1), rtol=1e-12)
    assert pl.linspace(0, 1 + 1j, 3).tolist() == [0, 0.5 + 0.5j, 1 + 1j]
    assert pl.eye(2, dtype="complex64").tolist() == [[1, 0], [0, 1]]


def test_parts() -> None:
    x = pl.Tensor([3 - 4j, -1 + 0j])
    assert (x.real.tolist(), x.imag.tolist(), x.real.dtype) == ([3, -1], [-4, 0], pl.float32)
    assert (x.conj().tolist(), abs(x).tolist()) == ([3 + 4j, -1], [5, 1])
    np.testing.assert_allclose(pl.angle(x).numpy(), np.angle(x.numpy()), rtol=1e-6)
    assert pl.complex(pl.Tensor([1, 2]), 0.5).tolist() == [1 + 0.5j, 2 + 0.5j]
    real = pl.Tensor([1.0, -2.0])
    assert (real.real.tolist(), real.imag.tolist(), real.conj().tolist()) == (
        [1, -2],
        [0, 0],
        [1, -2],
    )
    np.testing.assert_allclose(pl.angle(real).numpy(), [0, np.pi], rtol=1e-6)


def test_scalars_beside_tensors() -> None:
    x = pl.Tensor([1.0, 2.0])
    assert (x * 2j).tolist() == [2j, 4j]
    assert (1j - x).dtype == pl.complex64
    assert (x.astype("float64") + 1j).dtype == pl.complex128
    assert (pl.Tensor([1, 2]) ** 1j).dtype == pl.complex64
    assert pl.jit(lambda v: v * 2j + 1)(x).tolist() == [1 + 2j, 1 + 4j]
    assert pl.jit(lambda c: c * 1j)(2.0).dtype == pl.complex64


def test_complex_arguments_of_jit_are_data() -> None:
    scaled = pl.jit(lambda v, c: v * c)
    x = pl.Tensor([1.0, 2.0])
    for k in range(20):
        made = scaled(x, complex(k, 1))
        assert (made.tolist(), made.dtype) == ([k + 1j, 2 * k + 2j], pl.complex64)
    assert scaled(x.astype("float64"), 1j).dtype == pl.complex128
    assert scaled(1.0, 1j).dtype == pl.complex64
    assert "a Python complex" in scaled.explain()


@pytest.mark.parametrize("power", [0.5, -0.5, -1, 1, 2, 3, 4, 5, -2, 0, 1.5, 1j])
def test_powers(power: complex) -> None:
    z = RNG.normal(size=9) + 1j * RNG.normal(size=9)
    np.testing.assert_allclose((pl.Tensor(z) ** power).numpy(), z**power, rtol=1e-12)


NUMPYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cov": lambda xp, a, b: xp.cov(a),
    "corrcoef": lambda xp, a, b: xp.corrcoef(a),
    "convolve": lambda xp, a, b: xp.convolve(a[0], b[1, :3]),
    "correlate": lambda xp, a, b: xp.correlate(a[0], b[1, :3], "full"),
    "correlate, swapped": lambda xp, a, b: xp.correlate(a[0, :2], b[1]),
    "vdot": lambda xp, a, b: xp.vdot(a, b),
    "kron": lambda xp, a, b: xp.kron(a[0], b[0]),
    "diff": lambda xp, a, b: xp.diff(a),
    "isin": lambda xp, a, b: xp.isin(a, a[1]),
    "nan_to_num": lambda xp, a, b: xp.nan_to_num(a / xp.zeros_like(a)),
    "sinc": lambda xp, a, b: xp.sinc(a),
    "polyval": lambda xp, a, b: xp.polyval(a[0], b[0]),
    "tensordot": lambda xp, a, b: xp.tensordot(a, b, ((1,), (1,))),
    "einsum": lambda xp, a, b: xp.einsum("ij,kj->ik", a, b),
    "outer": lambda xp, a, b: xp.outer(a[0], b[0]),
    "trace": lambda xp, a, b: xp.trace(a[:, :3]),
    "roll": lambda xp, a, b: xp.roll(a, 2, 1),
    "where": lambda xp, a, b: xp.where(xp.abs(a) > 1, a, b),
    "concatenate": lambda xp, a, b: xp.concatenate([a, b]),
    "tril": lambda xp, a, b: xp.tril(a),
    "cumsum": lambda xp, a, b: xp.cumsum(a, 1),
    "prod": lambda xp, a, b: xp.prod(a, 1),
}


@pytest.mark.parametrize("name", NUMPYS)
@pytest.mark.parametrize("wrap", [lambda f: f, pl.jit], ids=["eager", "jit"])
def test_functions_of_arrays_are_numpys(name: str, wrap: Any) -> None:
    a, b = (RNG.normal(size=(3, 5)) + 1j * RNG.normal(size=(3, 5)) for _ in range(2))
    with np.errstate(all="ignore"):
        want = NUMPYS[name](np, a, b)
    got = wrap(lambda x, y: NUMPYS[name](pl, x, y))(pl.Tensor(a), pl.Tensor(b)).numpy()
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def test_random_complex_numbers() -> None:
    generator = pl.Generator(3)
    z = generator.normal((200, 100), dtype="complex128").numpy()
    assert z.dtype == np.complex128
    np.testing.assert_allclose(
        [z.real.var(), z.imag.var(), abs(z.mean())], [0.5, 0.5, 0], atol=0.02
    )
    assert abs(np.corrcoef(z.real.ravel(), z.imag.ravel())[0, 1]) < 0.02
    moved = pl.Generator(3).normal((200, 100), mean=2.0, std=3.0, dtype="complex128").numpy()
    np.testing.assert_allclose(moved, 3 * z + 2)
    u = pl.rand(1000, dtype="complex64").numpy()
    assert u.dtype == np.complex64
    assert ((u.real >= 0) & (u.real < 1) & (u.imag >= 0) & (u.imag < 1)).all()
    assert pl.randn(2, 3, dtype=pl.complex64).shape == (2, 3)
