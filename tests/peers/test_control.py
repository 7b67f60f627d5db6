"""Loops and branches against PyTorch's cells and JAX's `lax`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl

RNG = np.random.default_rng(0)
T, B, H = 7, 3, 4
XS = RNG.normal(size=(T, B, H)).astype(np.float32)
WX, WH = (RNG.normal(size=(H, 4 * H)).astype(np.float32) * 0.5 for _ in range(2))
BIAS = RNG.normal(size=4 * H).astype(np.float32)


def _lstm(library: Any, sigmoid: Any, scan: Any) -> Any:
    """All hidden states of an LSTM, gates in the order i, f, g, o."""

    def run(wx: Any, wh: Any, bias: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, c = carry
            gates = x @ wx + h @ wh + bias
            i, f, g, o = (gates[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * library.tanh(g)
            h = sigmoid(o) * library.tanh(c)
            return (h, c), h

        zeros = library.zeros((B, H))
        return scan(step, (zeros, zeros), xs)[1]

    return run


def _ours() -> tuple[Any, Any]:
    run = _lstm(pl, pl.sigmoid, pl.scan)
    args = [pl.Tensor(a) for a in (WX, WH, BIAS, XS)]
    grads = pl.jit(pl.grad(lambda *a: (run(*a) ** 2).sum(), (0, 1, 2, 3)))(*args)
    return pl.jit(run)(*args).numpy(), [g.numpy() for g in grads]


def test_an_lstm_equals_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here")
    cell = torch.nn.LSTM(H, H)
    with torch.no_grad():
        cell.weight_ih_l0.copy_(torch.tensor(WX.T))
        cell.weight_hh_l0.copy_(torch.tensor(WH.T))
        cell.bias_ih_l0.copy_(torch.tensor(BIAS))
        cell.bias_hh_l0.zero_()
    xs = torch.tensor(XS, requires_grad=True)
    ys = cell(xs)[0]
    (ys**2).sum().backward()
    expected = [cell.weight_ih_l0.grad.T, cell.weight_hh_l0.grad.T, cell.bias_ih_l0.grad, xs.grad]
    got, grads = _ours()
    np.testing.assert_allclose(got, ys.detach().numpy(), rtol=1e-5, atol=1e-6)
    for a, b in zip(grads, expected, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-5)


def test_loops_and_branches_equal_jax() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not here")
    lax = jax.lax
    expected = _lstm(jax.numpy, jax.nn.sigmoid, lax.scan)
    args = [jax.numpy.asarray(a) for a in (WX, WH, BIAS, XS)]
    got, grads = _ours()
    np.testing.assert_allclose(got, expected(*args), rtol=1e-5, atol=1e-6)
    theirs = jax.grad(lambda *a: (expected(*a) ** 2).sum(), (0, 1, 2, 3))(*args)
    for a, b in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    _same(jax, lambda x, lib: lib.while_loop(lambda c: c.sum() < 50.0, lambda c: c * c + 1.0, x))
    _same(jax, lambda x, lib: lib.fori_loop(0, 5, lambda i, c: c * 0.5 + i, x))
    _same(jax, lambda x, lib: lib.switch((x.sum() > 0) * 2, _BRANCHES, x))
    _same(jax, lambda x, lib: lib.cond(x.sum() > 0, _BRANCHES[0], _BRANCHES[1], x))
    _same(jax, lambda x, lib: lib.map(lambda v: v * 2.0, x))


_BRANCHES = [lambda x: x * 2.0, lambda x: x + 1.0, lambda x: x * x]


def _same(jax: Any, fn: Any) -> None:
    """Both, on numbers of either sign, and over a batch."""
    for x in (XS[0, 0], -np.abs(XS[0, 0]), np.abs(XS[1, 1])):
        got = pl.jit(lambda v: fn(v, pl))(pl.Tensor(x))
        np.testing.assert_allclose(got.numpy(), fn(jax.numpy.asarray(x), jax.lax), rtol=1e-5)
    many = pl.jit(pl.vmap(lambda v: fn(v, pl)))(pl.Tensor(XS[0]))
    theirs = jax.vmap(lambda v: fn(v, jax.lax))(jax.numpy.asarray(XS[0]))
    np.testing.assert_allclose(many.numpy(), theirs, rtol=1e-5)
