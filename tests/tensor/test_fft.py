"""`pellucid.fft` against NumPy: values, dtypes, derivatives, transforms, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pellucid as pl
from pellucid import fft
from tests.tensor.derivatives import check_derivatives

Array = NDArray[Any]
NORMS = ("backward", "ortho", "forward")
LINES = ("fft", "ifft", "irfft", "hfft", "rfft", "ihfft")
PLANES = ("fftn", "ifftn", "irfftn", "rfftn")
REAL = ("rfft", "ihfft", "rfftn")
each = settings(max_examples=30, deadline=None)


def waves(*shape: int, real: bool = False, dtype: str = "float64") -> Array:
    """Random numbers, complex of the precision of `dtype` unless `real`."""
    rng = np.random.default_rng(0)
    made: Array = rng.normal(size=shape)
    if real:
        return made.astype(dtype)
    made = made + 1j * rng.normal(size=shape)
    return made.astype(np.result_type(dtype, np.complex64))


def close(got: Any, want: Array) -> None:
    """Fails unless dtype, shape and contents agree."""
    assert got.shape == want.shape
    assert got.numpy().dtype == want.dtype
    tolerance = 1e-4 if want.dtype in (np.float32, np.complex64) else 1e-11
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


@each
@given(
    name=st.sampled_from(LINES),
    shape=st.sampled_from([(5,), (2, 6), (4, 3, 2), (0, 4), (3, 7)]),
    n=st.sampled_from([None, 1, 2, 3, 8, 9]),
    norm=st.sampled_from(NORMS),
    dtype=st.sampled_from(["float32", "float64"]),
    data=st.data(),
)
def test_transforms_along_an_axis_agree(
    name: str, shape: tuple[int, ...], n: int | None, norm: Any, dtype: str, data: st.DataObject
) -> None:
    axis = data.draw(st.sampled_from([a for a in range(len(shape)) if shape[a] > 1]))
    x = waves(*shape, real=name in REAL, dtype=dtype)
    want = getattr(np.fft, name)(x, n, axis, norm)
    close(getattr(fft, name)(pl.Tensor(x), n=n, axis=axis - len(shape), norm=norm), want)


@each
@given(
    name=st.sampled_from(PLANES),
    axes=st.sampled_from([None, (0,), (2, 0), (-1, -2), (0, 1, 2)]),
    sized=st.booleans(),
    norm=st.sampled_from(NORMS),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_transforms_along_several_axes_agree(
    name: str, axes: tuple[int, ...] | None, sized: bool, norm: Any, dtype: str
) -> None:
    x = waves(4, 3, 5, real=name in REAL, dtype=dtype)
    s = (6, 2, 4)[: len(axes)] if sized and axes else None
    want = getattr(np.fft, name)(x, s, axes, norm)
    close(getattr(fft, name)(pl.Tensor(x), s=s, axes=axes, norm=norm), want)


@pytest.mark.parametrize("name", ["fft2", "ifft2", "rfft2", "irfft2"])
def test_transforms_of_planes_agree(name: str) -> None:
    x = waves(2, 4, 6, real=name == "rfft2")
    close(getattr(fft, name)(pl.Tensor(x)), getattr(np.fft, name)(x))
    close(getattr(fft, name)(pl.Tensor(x), s=(3, 4)), getattr(np.fft, name)(x, (3, 4)))


def test_a_size_of_minus_one_is_the_axis() -> None:
    x = waves(4, 3)
    close(fft.fftn(pl.Tensor(x), s=(-1, 5), axes=(0, 1)), np.fft.fftn(x, (4, 5), (0, 1)))
    half = np.fft.rfftn(x.real)
    close(fft.irfftn(pl.Tensor(half), s=(-1, 3), axes=(0, 1)), np.fft.irfftn(half, (4, 3), (0, 1)))


def test_real_and_whole_numbers_are_taken_too() -> None:
    x = np.arange(6)
    assert fft.fft(pl.Tensor(x)).dtype == pl.complex64
    assert fft.rfft(pl.Tensor(x)).dtype == pl.complex64
    close(fft.fft(pl.Tensor(x * 1.0)), np.fft.fft(x))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies_and_shifts_agree(n: int) -> None:
    for dtype in ("float32", "float64"):
        kept = {"dtype": dtype} if dtype == "float64" else {}
        close(fft.fftfreq(n, d=0.3, **kept), np.fft.fftfreq(n, 0.3).astype(dtype))
        close(fft.rfftfreq(n, d=0.3, **kept), np.fft.rfftfreq(n, 0.3).astype(dtype))
    x = waves(n, 3, real=True)
    for axes in (None, 0, (0, 1), -1):
        close(fft.fftshift(pl.Tensor(x), axes=axes), np.fft.fftshift(x, axes))
        close(fft.ifftshift(pl.Tensor(x), axes=axes), np.fft.ifftshift(x, axes))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [None, 4, 5, 8])
@pytest.mark.parametrize("name", LINES)
def test_derivatives_along_an_axis(name: str, n: int | None, norm: str) -> None:
    transform = getattr(fft, name)
    x = waves(2, 5, real=name in REAL)
    check_derivatives(lambda x: transform(x, n=n, norm=norm) ** 2, x)


@pytest.mark.parametrize("name", PLANES)
def test_derivatives_along_several_axes(name: str) -> None:
    transform = getattr(fft, name)
    x = waves(3, 4, real=name in REAL)
    check_derivatives(lambda x: transform(x, s=(4, 5), axes=(0, 1)) ** 2, x)
    check_derivatives(lambda x: fft.fftshift(transform(x)), x, order=1)


@pytest.mark.parametrize("name", [*LINES, *PLANES])
def test_compiled_and_mapped_transforms_agree(name: str) -> None:
    transform, x = getattr(fft, name), pl.Tensor(waves(3, 4, 5, real=name in REAL))
    want = np.stack([getattr(np.fft, name)(row) for row in x.numpy()])
    close(pl.vmap(transform)(x), want)
    close(pl.jit(pl.vmap(transform))(x), want)


def test_one_program_transforms_signals_of_any_length() -> None:
    def slope(x: Any) -> Any:
        return pl.grad(lambda x: (pl.abs(fft.rfft(x)) ** 3).sum() + (fft.irfft(x) ** 2).sum())(x)

    jitted = pl.jit(slope, dynamic={"x": {0: "batch", 1: "n"}})
    for shape in ((2, 4), (3, 6), (1, 10), (2, 5)):
        x = pl.Tensor(waves(*shape, real=True))
        np.testing.assert_allclose(jitted(x).numpy(), slope(x).numpy(), atol=1e-9)
    assert jitted.explain().startswith("slope: compiled 2 time(s)")  # of even and odd lengths


def test_a_filter_learns_through_its_transform() -> None:
    x, target = waves(16, real=True), waves(16, real=True)[::-1].copy()

    @pl.jit
    def loss(weight: Any) -> Any:
        made = fft.irfft(fft.rfft(pl.Tensor(x)) * fft.rfft(weight))
        return ((made - pl.Tensor(target)) ** 2).mean()

    weight = pl.Tensor(np.zeros(16))
    first = loss(weight).item()
    for _ in range(40):
        weight = weight - 0.05 * pl.grad(loss)(weight)
    assert loss(weight).item() < 0.7 * first


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fft.fft(pl.zeros((2, 0))), "fft: needs at least one point per axis"),
        (lambda: fft.fft(pl.zeros(3), n=0), "fft: needs at least one point per axis"),
        (lambda: fft.fft(pl.zeros(3), norm="other"), "fft: no such norm, got norm 'other'. Fix"),
        (lambda: fft.hfft(pl.zeros(3), norm="other"), "hfft: no such norm"),
        (lambda: fft.fftn(pl.zeros(3), s=(3,)), r"fftn: s needs axes"),
        (lambda: fft.fftn(pl.zeros((3, 2)), s=(3,), axes=(0, 1)), "fftn: needs at least one axis"),
        (lambda: fft.fftn(pl.zeros((3, 2)), axes=(0, -2)), "each named once"),
        (lambda: fft.fft(pl.zeros(3), axis=1), "fft: axis must be in"),
        (lambda: fft.rfft(fft.fft(pl.zeros(3))), "rfft: takes real numbers"),
        (lambda: fft.irfft(pl.zeros(1)), "irfft: needs at least one point"),
        (lambda: fft.fft(pl.zeros(3, "float16")), "fft: takes float32, float64"),
        (lambda: fft.fftfreq(0), "fftfreq: needs at least one point"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(pl.PellucidError, match=text):
        call()
