"""Gradients of linear algebra and Fourier transforms against PyTorch, in float64 and complex128."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl

torch = pytest.importorskip("torch", reason="PyTorch, the peer, is not installed")
Array = NDArray[Any]
KINDS = ("float64", "complex128")


def _matrix(*shape: int, dtype: str) -> Array:
    rng = np.random.default_rng(0)
    made: Array = rng.normal(size=shape)
    return made + 1j * rng.normal(size=shape) if dtype == "complex128" else made


def _positive(dtype: str) -> Array:
    x = _matrix(4, 4, dtype=dtype)
    return x @ np.conj(x.T) + np.eye(4)


def _symmetrised(x: Any, lib: Any) -> Any:
    return (x + lib.swapaxes(lib.conj(x), -1, -2)) / 2


def _gauge_free(x: Any, lib: Any) -> Any:
    u, s, vh = lib.linalg.svd(x, full_matrices=False)
    return (u * lib.exp(-s)) @ vh


def _spectral(x: Any, lib: Any) -> Any:
    w, v = lib.linalg.eigh(_symmetrised(x, lib))
    return (v * lib.exp(0.1 * w)) @ lib.swapaxes(lib.conj(v), -1, -2)


def _resolvent(x: Any, lib: Any) -> Any:
    w, v = lib.linalg.eig(x)
    return (v * (w**3)) @ lib.linalg.inv(v)


def _qr(x: Any, lib: Any) -> Any:
    q, r = lib.linalg.qr(x)
    return q @ (r**2)


def _vector_norm(ord: float) -> Callable[[Any, Any], Any]:
    return lambda x, lib: lib.linalg.vector_norm(x, ord=ord)


def _matrix_norm(ord: Any) -> Callable[[Any, Any], Any]:
    return lambda x, lib: lib.linalg.matrix_norm(x, ord=ord)


Case = tuple[tuple[int, ...], Callable[[Any, Any], Any]]
CASES: dict[str, Case] = {
    "cholesky": ((), lambda x, lib: lib.linalg.cholesky(_symmetrised(x, lib))),
    "inv": ((), lambda x, lib: lib.linalg.inv(x)),
    "det": ((), lambda x, lib: lib.linalg.det(x)),
    "slogdet": ((), lambda x, lib: lib.linalg.slogdet(x)[1] * lib.linalg.slogdet(x)[0]),
    "solve": ((), lambda x, lib: lib.linalg.solve(x, x @ x)),
    "eigh": ((), _spectral),
    "eigvalsh": ((), lambda x, lib: lib.linalg.eigvalsh(_symmetrised(x, lib))),
    "eig": ((), _resolvent),
    "svd": ((4, 3), _gauge_free),
    "svdvals": ((3, 4), lambda x, lib: lib.linalg.svdvals(x)),
    "qr": ((4, 3), _qr),
    "pinv": ((4, 3), lambda x, lib: lib.linalg.pinv(x)),
    "expm": ((), lambda x, lib: (lib.linalg.expm if lib is pl else torch.matrix_exp)(x / 9)),
    "cond": ((), lambda x, lib: lib.linalg.cond(x)),
    "power": ((), lambda x, lib: lib.linalg.matrix_power(x, 3)),
    **{f"vector norm {p}": ((4, 3), _vector_norm(p)) for p in (1, 2, 3, float("inf"))},
    **{f"matrix norm {p}": ((4, 3), _matrix_norm(p)) for p in ("fro", "nuc", 1, 2, float("inf"))},
    "fft": ((3, 5), lambda x, lib: lib.fft.fft(x, n=7, norm="ortho")),
    "ifftn": ((3, 5), lambda x, lib: lib.fft.ifftn(x)),
    "rfft": ((3, 5), lambda x, lib: lib.fft.rfft(lib.real(x), n=6)),
    "irfft": ((3, 5), lambda x, lib: lib.fft.irfft(x + 0j, norm="forward")),
    "hfft": ((3, 5), lambda x, lib: lib.fft.hfft(x + 0j)),
    "ihfft": ((3, 5), lambda x, lib: lib.fft.ihfft(lib.real(x))),
    "irfftn": ((3, 5), lambda x, lib: lib.fft.irfftn(x + 0j)),
}


def _real_sum(y: Any, lib: Any) -> Any:
    """A real number of both parts, with weights that no symmetry hides."""
    weights = lib.asarray(np.cos(np.arange(np.prod(y.shape, dtype=int))).reshape(tuple(y.shape)))
    if y.dtype not in (pl.complex128, torch.complex128):
        return (y * weights).sum()
    return (lib.real(y) * weights).sum() + (lib.imag(y) * weights**2).sum()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_agree(name: str, dtype: str) -> None:
    shape, fn = CASES[name]
    x = _matrix(*shape, dtype=dtype) if shape else _positive(dtype)
    theirs = torch.tensor(x, requires_grad=True)
    made = fn(theirs, torch)
    loss = _real_sum(made, torch)
    loss.backward()
    ours = fn(pl.Tensor(x), pl).numpy()
    np.testing.assert_allclose(ours, made.detach().resolve_conj().numpy(), atol=1e-9)
    gradient = pl.grad(lambda x: _real_sum(fn(x, pl), pl))(pl.Tensor(x)).numpy()
    np.testing.assert_allclose(gradient, theirs.grad.resolve_conj().numpy(), rtol=1e-7, atol=1e-8)
