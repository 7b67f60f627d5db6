"""Functions NumPy's users look for: against NumPy, SciPy's special functions, and differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.special

import pellucid as pl
from pellucid.core.errors import PellucidError
from pellucid.tensor import numpy_like

RNG = np.random.default_rng(0)
NAN = math.nan
V = RNG.normal(size=7)
M = RNG.normal(size=(4, 5))
C = RNG.normal(size=(3, 4, 5))
HOLES = np.where(RNG.random((4, 6)) < 0.3, NAN, RNG.normal(size=(4, 6)))
HOLES[2] = NAN
ENDS = np.array([0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, NAN])
INTS = np.array([[3, 1, 4], [1, 5, 9]])
_LEAST = np.array([-128, 127, 0, 1, 5, -127, -3], np.int8)
LEAST = [m.ravel() for m in np.meshgrid(_LEAST, _LEAST[_LEAST != 0])]
POSITIVE = RNG.uniform(0.1, 3.0, (4, 5))
FRACTIONS = (0.0, 0.3, 0.5, 1.0)

Case = tuple[str, tuple[Any, ...], dict[str, Any]]


def case(name: str, *args: Any, **kwargs: Any) -> Case:
    return name, args, kwargs


CASES: list[Case] = [
    *(case(n, x)
      for n in ("ravel", "atleast_1d", "atleast_2d", "atleast_3d") for x in (V[0], V, M, C)),
    *(case(n, [M, M + 1]) for n in ("vstack", "hstack", "dstack", "column_stack")),
    *(case(n, [V, V + 1]) for n in ("vstack", "hstack", "dstack", "column_stack")),
    case("array_split", M, 3, 1), case("array_split", V, 3), case("array_split", V, [2, 5, 4, 9]),
    case("vsplit", M, 2), case("hsplit", M, [1, 3]), case("hsplit", V, [1, 3]),
    case("dsplit", C, 5),
    case("fliplr", M), case("flipud", M),
    *(case("rot90", M, k) for k in (-1, 0, 1, 2, 3, 5)), case("rot90", C, 1, (2, 0)),
    case("append", M, V), case("append", M, M[:1], 0), case("delete", M, [0, -1], 1),
    case("delete", M, 3),
    *(case("diag", x, k) for x in (V, M) for k in (-2, 0, 1)), case("diagflat", M, 1),
    case("tri", 3), case("tri", 3, 5, 1), case("identity", 4), case("indices", (2, 3)),
    case("vander", V), case("vander", V, 3, increasing=True), case("vander", V, 0),
    case("logspace", -1, 2, 5), case("geomspace", 1, 64, 7),
    case("unravel_index", INTS, (4, 5)), case("ravel_multi_index", (INTS[0], INTS[1]), (9, 12)),
    case("tril_indices", 4, -1), case("triu_indices", 4, 1, 6),
    *(case(n, HOLES, axis=a, keepdims=k)
      for n in ("nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin", "nanmedian")
      for a, k in ((None, False), (1, False), (0, True))),
    case("nanargmax", HOLES, axis=0), case("nanargmin", HOLES, axis=0),
    case("nancumsum", HOLES, axis=1), case("nancumprod", HOLES),
    case("nan_to_num", ENDS), case("nan_to_num", ENDS, nan=1.0, posinf=2.0, neginf=3.0),
    case("isposinf", ENDS), case("isneginf", ENDS),
    case("fmax", ENDS, ENDS[::-1]), case("fmin", ENDS, ENDS[::-1]),
    case("isclose", ENDS, ENDS + 1e-9), case("isclose", ENDS, ENDS, equal_nan=True),
    case("allclose", M, M + 1e-9), case("allclose", M, M + 1), case("array_equal", M, M),
    case("array_equal", M, V), case("array_equal", ENDS, ENDS, equal_nan=True),
    *(case("quantile", x, q, axis=a)
      for x in (M, C) for q in (0.25, FRACTIONS, [[0.1, 0.9]]) for a in (None, 0, 1, (0, 1))),
    *(case("quantile", C, 0.37, axis=1, method=m, keepdims=True)
      for m in ("linear", "lower", "higher", "nearest", "midpoint")),
    case("quantile", ENDS, 0.5), 
    case("nanquantile", HOLES, FRACTIONS, axis=1), case("percentile", M, 30.0, axis=0),
    case("nanpercentile", HOLES, 30.0), case("median", M), case("median", C, axis=(0, 2)),
    case("ptp", M, axis=1),
    case("average", M), case("average", M, axis=1, weights=np.arange(5.0)),
    case("average", M, weights=POSITIVE, axis=0),
    case("cov", M), case("cov", V), case("cov", M, rowvar=False), case("corrcoef", M),
    case("bincount", INTS.ravel()), case("bincount", INTS.ravel(), minlength=20),
    case("bincount", INTS.ravel(), weights=np.arange(6.0)),
    case("histogram", V), case("histogram", M, 4, range=(-1.0, 1.0)),
    case("histogram", M, 3, density=True), case("histogram", V, np.array([-1.0, 0.0, 2.0])),
    case("histogram", np.ones(3), 2),
    case("digitize", M, np.array([-1.0, 0.0, 0.5])), case("digitize", INTS, np.array([5, 3, 1])),
    case("digitize", INTS, np.array([1, 3, 5]), right=True), case("digitize", M, np.array([0.0])),
    case("interp", M, np.array([-1.0, 0.0, 1.0]), np.array([3.0, 5.0, -2.0])),
    case("interp", np.array([-2.0, -1.0, 1.0, 2.0, NAN]), np.array([-1.0, 1.0]), V[:2], 7.0, 8.0),
    case("interp", V, np.array([0.5]), np.array([2.0])), case("interp", 0.3, V[:1], V[:1]),
    case("gcd", INTS * 6, INTS[::-1] * -4), case("lcm", INTS, np.array([4, 6, 0])),
    case("gcd", INTS, 0), case("gcd", INTS.astype(np.uint8), np.uint8(2)),
    case("cbrt", np.array([0.0, -8.0, 27.0, 1e-200, -1e200, math.inf, NAN])),
    case("deg2rad", M), case("rad2deg", M), case("sinc", np.array([0.0, 0.5, -1.0, 3.3])),
    case("logaddexp2", ENDS, 1.0), case("float_power", POSITIVE, 2), case("fmod", M * 9, POSITIVE),
    case("fmod", INTS - 5, 3), case("fmod", *LEAST), case("gcd", *LEAST), case("fmod", ENDS, 2.0),
    case("fmod", INTS.astype(np.uint8), np.uint8(3)), case("float_power", V + 1j, 2),
    case("nanargmin", V > 0), case("nanargmax", INTS), case("append", V, 2.5),
    case("heaviside", ENDS, 0.5),
    case("trapezoid", M), case("trapezoid", M, V[:5]), case("trapezoid", M, dx=0.5, axis=0),
    case("gradient", V), case("gradient", M), case("gradient", M, 0.5, axis=1),
    case("ediff1d", M), case("unwrap", np.cumsum(M, 1) * 4), case("unwrap", V * 9, period=3.0),
    *(case(n, a, b, m) for n in ("convolve", "correlate") for m in ("full", "same", "valid")
      for a, b in ((V, V[:3]), (V, V[:4]), (V[:3], V), (V[:4], V), (INTS[0], INTS[1]))),
    case("polyval", V, M), case("polyval", np.array([2.0]), M), case("polyval", V[:0], M),
    *(case("dot", a, b)
      for a, b in ((V, V), (M, V[:5]), (C, M.T), (M, 2.0), (C, C.transpose(0, 2, 1)))),
    *(case("inner", a, b) for a, b in ((V, V), (M, V[:5]), (C, M))),
    case("vdot", M, M + 1), case("kron", M, V), case("kron", M, C),
    case("select", [V > 0.5, V > 0], [V, -V], 9.0),
]  # fmt: skip


KINDS = {"f": "float", "i": "int", "u": "uint", "b": "bool", "c": "complex"}


def tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return pl.Tensor(value)
    if isinstance(value, (list, tuple)) and any(isinstance(v, np.ndarray) for v in value):
        return type(value)(map(tensors, value))
    return value


def assert_same(found: Any, wanted: Any, rtol: float = 1e-12) -> None:
    if isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            assert_same(f, w, rtol)
        return
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape
    rough = found.dtype == pl.float32  # what was made from Python numbers alone
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6 if rough else rtol, atol=1e-12)
    assert found.dtype.kind == KINDS[wanted.dtype.kind]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "args", "kwargs"), CASES, ids=[c[0] for c in CASES])
def test_as_numpy(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    wanted = getattr(np, name)(*args, **kwargs)
    ours = getattr(pl, name)
    given = {k: tensors(v) for k, v in kwargs.items()}
    assert_same(ours(*map(tensors, args), **given), wanted)
    assert_same(ours(*args, **kwargs), wanted)  # NumPy's arrays are taken as they are


def test_every_function_is_compared() -> None:
    tested = {c[0] for c in CASES} | set(SPECIAL)
    assert set(numpy_like.__all__) <= tested


LINE = np.linspace(-9.95, 30, 801)
SPECIAL: dict[str, tuple[Callable[..., Any], Sequence[Any], float]] = {
    "logit": (scipy.special.logit, [np.linspace(0, 1, 41)], 1e-13),
    "xlog1py": (scipy.special.xlog1py, [np.r_[0.0, V], np.r_[-1.0, V + 3]], 1e-14),
    "entr": (scipy.special.entr, [np.r_[0.0, -1.0, POSITIVE.ravel()]], 1e-14),
    "erfc": (scipy.special.erfc, [np.r_[np.linspace(-7, 26, 397), -math.inf, NAN]], 2e-13),
    "erfcx": (scipy.special.erfcx, [np.r_[np.linspace(-7, 50, 397), 1e9]], 1e-12),
    "erfinv": (scipy.special.erfinv, [np.r_[np.linspace(-1, 1, 801), 1 - 1e-15, 2.0]], 1e-12),
    "ndtr": (scipy.special.ndtr, [np.linspace(-37, 9, 393)], 1e-12),
    "log_ndtr": (scipy.special.log_ndtr, [np.r_[np.linspace(-60, 9, 393), -1e5]], 1e-12),
    "lgamma": (scipy.special.gammaln, [np.r_[LINE, 0, -3, 1e5, 1e300, 1e-9]], 1e-12),
    "digamma": (scipy.special.digamma, [np.r_[LINE, 0.0, -3.0, 1e5, 1e-9]], 1e-11),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions(name: str) -> None:
    reference, arrays, rtol = SPECIAL[name]
    with np.errstate(all="ignore"):
        wanted = reference(*arrays)
    for run in (getattr(pl, name), pl.jit(getattr(pl, name))):
        found = run(*map(pl.Tensor, arrays)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=2e-14)
    with np.errstate(all="ignore"):
        narrow = [a.astype(np.float32) for a in arrays]
        short = reference(*(a.astype(np.float64) for a in narrow)).astype(np.float32)
    found = getattr(pl, name)(*map(pl.Tensor, narrow))
    assert found.dtype == pl.float32
    np.testing.assert_allclose(found.numpy(), short, rtol=2e-6, atol=1e-7)


INNER = {"logit": 0.3, "entr": 0.4, "erfc": 2.5, "erfcx": 2.5, "erfinv": 0.6, "ndtr": 0.4,
         "log_ndtr": -4.0, "lgamma": 2.7, "digamma": -1.3, "cbrt": 5.0, "sinc": 0.7}  # fmt: skip


@pytest.mark.parametrize("name", INNER)
def test_slopes(name: str) -> None:
    fn = getattr(pl, name)
    x = pl.Tensor(np.array([INNER[name], INNER[name] + 0.11]))
    step = 1e-6
    slope = pl.grad(lambda v: fn(v).sum())(x).numpy()
    wanted = (fn(x + step) - fn(x - step)).numpy() / (2 * step)
    np.testing.assert_allclose(slope, wanted, rtol=1e-6)
    _, forward = pl.jvp(fn, (x,), (pl.ones_like(x),))
    np.testing.assert_allclose(forward.numpy(), slope, rtol=1e-10)


GRADIENTS: list[tuple[str, Callable[[Any], Any], np.ndarray[Any, Any]]] = [
    ("quantile", lambda x: pl.quantile(x, 0.3, axis=1), M),
    ("median", pl.median, M),
    ("nanmean", lambda x: pl.nanmean(x, axis=0), np.nan_to_num(HOLES)),
    ("nanvar", pl.nanvar, M),
    ("cov", pl.cov, M),
    ("corrcoef", pl.corrcoef, M),
    ("average", lambda x: pl.average(x, 1, pl.Tensor(np.arange(5.0))), M),
    ("gradient", lambda x: pl.gradient(x, axis=1), M),
    ("trapezoid", pl.trapezoid, M),
    ("unwrap", pl.unwrap, M * 4),
    ("convolve", lambda x: pl.convolve(x, pl.Tensor(V[:3])), V),
    ("kron", lambda x: pl.kron(x, pl.Tensor(V)), M),
    ("rot90", pl.rot90, M),
    ("interp", lambda x: pl.interp(x, pl.Tensor(np.arange(-3.0, 4.0)), pl.Tensor(V)), M),
    ("points", lambda y: pl.interp(pl.Tensor(M), pl.Tensor(np.arange(-3.0, 4.0)), y), V),
    ("diag", pl.diag, V),
    ("polyval", lambda x: pl.polyval(x, pl.Tensor(M)), V),
    ("vander", pl.vander, V),
    ("dot", lambda x: pl.dot(x, x.T), M),
]


@pytest.mark.parametrize(("name", "fn", "array"), GRADIENTS, ids=[g[0] for g in GRADIENTS])
def test_gradients(name: str, fn: Callable[[Any], Any], array: np.ndarray[Any, Any]) -> None:
    x = pl.Tensor(array)
    weights = pl.Tensor(RNG.normal(size=fn(x).shape))
    direction = pl.Tensor(RNG.normal(size=array.shape))
    found = (pl.grad(lambda v: (fn(v) * weights).sum())(x) * direction).sum().item()
    step = 1e-6
    change = (fn(x + direction * step) - fn(x - direction * step)) * weights
    assert found == pytest.approx(change.sum().item() / (2 * step), rel=1e-5, abs=1e-7)
    _, moved = pl.jvp(fn, (x,), (direction,))
    assert found == pytest.approx((moved * weights).sum().item(), rel=1e-9, abs=1e-12)


def test_under_vmap_and_jit() -> None:
    rows = pl.Tensor(M)
    found = pl.jit(pl.vmap(lambda row: pl.quantile(row, 0.4)))(rows)
    np.testing.assert_allclose(found.numpy(), np.quantile(M, 0.4, axis=1))
    counts = pl.jit(lambda x: pl.bincount(x, length=12))(pl.Tensor(INTS))
    assert counts.tolist() == np.bincount(INTS.ravel(), minlength=12).tolist()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: pl.quantile(pl.ones(3), 1.5), "fractions must be in"),
        (lambda: pl.quantile(pl.ones(3), 0.5, method="best"), "method must be one of"),
        (lambda: pl.median(pl.zeros((0, 3)), axis=0), "median"),
        (lambda: pl.diag(pl.ones((1, 1, 1))), "vector or a matrix"),
        (lambda: pl.average(pl.ones((2, 3)), 0, pl.ones(3)), "weights must"),
        (lambda: pl.bincount(pl.Tensor([-1])), "from 0 on"),
        (lambda: pl.convolve(pl.ones(0), pl.ones(3)), "at least one element"),
        (lambda: pl.convolve(pl.ones(3), pl.ones(3), "most"), "mode must"),
        (lambda: pl.rot90(pl.ones((2, 2)), 1, (0, 0)), "two different axes"),
        (lambda: pl.array_split(pl.ones(3), 0), "at least 1 section"),
        (lambda: pl.select([pl.ones(3) > 0], []), "a choice for each"),
        (lambda: pl.ravel_multi_index((pl.Tensor([1]),), (2, 3)), "one array per axis"),
        (lambda: pl.gcd(pl.ones(2), 3), "takes integers"),
        (lambda: pl.interp(pl.ones(2), pl.ones(2), pl.ones(3)), "two vectors of one length"),
        (lambda: pl.gradient(pl.ones((1, 3)), axis=0), "two samples"),
        (lambda: pl.jit(pl.bincount)(pl.Tensor([1])), "bincount: the length.*length=n"),
        (lambda: pl.cov(pl.ones(3), pl.ones(3)), "cov: rowvar must be.*vstack"),
        (lambda: pl.nanargmin(pl.Tensor([1j])), "nanargmin: takes real numbers"),
        (lambda: pl.argmax(pl.ones((2, 2)), axis=(0, 1)), "argmax: axis must be an integer"),
    ],
)
def test_wrong_input_says_what_is_wrong(wrong: Callable[[], Any], says: str) -> None:
    with pytest.raises(PellucidError, match=says):
        wrong()


@pytest.mark.parametrize("name", ["fmod", "gcd"])
def test_the_least_integer_under_jit(name: str) -> None:
    found = pl.jit(getattr(pl, name))(*map(pl.Tensor, LEAST))
    assert found.tolist() == getattr(np, name)(*LEAST).tolist()


def test_remainders_below_zero_keep_their_sign_and_gradient() -> None:
    x = pl.Tensor([-0.0, 0.0, -4.0, 5.0])
    for fmod in (pl.fmod, pl.jit(pl.fmod)):
        found = fmod(x, 2.0).numpy()
        np.testing.assert_array_equal(np.signbit(found), [True, False, True, False])
    assert pl.grad(lambda x: pl.fmod(x, 2.0).sum())(x).tolist() == [1.0] * 4


def test_cbrt_has_derivatives_of_any_order() -> None:
    def third(x: Any) -> Any:
        return pl.grad(pl.grad(pl.grad(pl.cbrt)))(x)

    x = pl.Tensor(np.float64(-1.7))
    wanted = 10 / 27 * np.cbrt(-1.7) / (-1.7) ** 3
    assert abs(third(x).item() - wanted) < 1e-12
    assert abs(pl.grad(pl.grad(pl.cbrt))(x).item() + 2 / 9 * np.cbrt(-1.7) / 1.7**2) < 1e-12


def test_signs_of_zeros() -> None:
    a, b = np.array([-1.0, 1.0, -2e-30], np.float32), np.array([0.0, -0.0, 1e-30], np.float32)
    for outer in (pl.outer, pl.linalg.outer, pl.jit(pl.outer)):
        found = outer(pl.Tensor(a), pl.Tensor(b)).numpy()
        np.testing.assert_array_equal(np.signbit(found), np.signbit(np.outer(a, b)))
    zero = pl.Tensor(np.array([complex(-0.0, 0.0)]))
    for expm1 in (pl.expm1, pl.jit(pl.expm1)):
        assert not np.signbit(expm1(zero).numpy().real).any()
