"""Derivatives of complex functions: PyTorch's convention, differences of both parts, transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid.core.errors import GradientError

Array = NDArray[Any]
Fn = Callable[..., Any]
RNG = np.random.default_rng(3)


def _random(*shape: int) -> Array:
    return np.asarray(RNG.uniform(-1, 1, shape) + 1j * RNG.uniform(-1, 1, shape))


SAME_NAME = (
    "abs exp expm1 exp2 log log1p log2 log10 sqrt rsqrt square sin cos tan asin acos atan sinh cosh"
    " tanh asinh acosh atanh reciprocal negative conj angle real imag"
).split()
BINARY = ("add", "subtract", "multiply", "divide", "pow")


def _torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def _loss(out: Any, weights: Array, xp: Any) -> Any:
    """A real number that depends on both parts of every element."""
    w = xp.asarray(weights[: out.size if isinstance(out, pl.Tensor) else out.numel()])
    flat = out.reshape(-1)
    if flat.dtype != xp.complex128:
        return (flat * xp.real(w)).sum()
    return (xp.real(flat) * xp.real(w) + xp.imag(flat) * xp.imag(w)).sum()


def _agrees_with_torch(ours: Fn, theirs: Fn, *arrays: Array) -> None:
    torch = _torch()
    weights = _random(64)
    mine = [pl.Tensor(a, requires_grad=True) for a in arrays]
    peer = [torch.tensor(a, requires_grad=True) for a in arrays]
    made, wanted = ours(*mine), theirs(*peer)
    np.testing.assert_allclose(made.numpy(), wanted.detach().resolve_conj().numpy(), rtol=1e-12)
    _loss(made, weights, pl).backward()
    _loss(wanted, weights, torch).backward()
    for x, y in zip(mine, peer, strict=True):
        assert x.grad is not None
        np.testing.assert_allclose(x.grad.numpy(), y.grad.resolve_conj().numpy(), rtol=1e-10)


@pytest.mark.parametrize("name", SAME_NAME)
def test_gradient_is_pytorchs(name: str) -> None:
    torch = _torch()
    theirs = {"conj": lambda x: torch.conj(x).clone()}.get(name, getattr(torch, name))
    _agrees_with_torch(getattr(pl, name), theirs, _random(5) + 0.1)


@pytest.mark.parametrize("name", BINARY)
def test_gradients_of_two_operands_are_pytorchs(name: str) -> None:
    _agrees_with_torch(getattr(pl, name), getattr(_torch(), name), _random(3, 4), _random(3, 4))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda xp: lambda x: xp.sum(x * x, 1), id="sum"),
        pytest.param(lambda xp: lambda x: xp.mean(x * x, 0), id="mean"),
        pytest.param(lambda xp: lambda x: xp.prod(x, 1), id="prod"),
        pytest.param(lambda xp: lambda x: xp.cumsum(x * x, 1), id="cumsum"),
        pytest.param(lambda xp: lambda x: xp.cumprod(x, 0), id="cumprod"),
        pytest.param(lambda xp: lambda x: xp.matmul(x, x), id="matmul"),
        pytest.param(lambda xp: lambda x: xp.einsum("ij,kj->ik", x, x * x), id="einsum"),
        pytest.param(lambda xp: lambda x: (x * 2j + 1.5).real.exp(), id="scalars"),
        pytest.param(lambda xp: lambda x: x[1:, ::2] * x[0, 0], id="slices"),
        pytest.param(lambda xp: lambda x: xp.where(x.real > 0, x * x, 0), id="where"),
        pytest.param(lambda xp: lambda x: xp.sign(x) if xp is pl else xp.sgn(x), id="sign"),
        pytest.param(lambda xp: lambda x: xp.complex(x.real, x.real * x.imag), id="complex"),
        pytest.param(lambda xp: lambda x: abs(x) ** 2 + x.imag, id="abs"),
    ],
)
def test_gradient_of_a_composite_is_pytorchs(make: Callable[[Any], Fn]) -> None:
    _agrees_with_torch(make(pl), make(_torch()), _random(3, 3))


def test_a_real_operand_gets_a_real_gradient() -> None:
    torch = _torch()
    x, z = RNG.normal(size=4), _random(4)
    _agrees_with_torch(lambda a, b: a * b, lambda a, b: a * b, x, z)
    _agrees_with_torch(
        lambda a, b: pl.matmul(a.reshape(2, 2).astype("complex128"), b.reshape(2, 2)),
        lambda a, b: torch.matmul(a.reshape(2, 2).to(torch.complex128), b.reshape(2, 2)),
        x, z,
    )  # fmt: skip


def _slope(fn: Fn, z: Array, at: int, step: complex) -> float:
    """The central difference of a real function along one part of one element."""
    move = np.zeros_like(z)
    move[at] = step
    ahead, behind = fn(pl.Tensor(z + move)), fn(pl.Tensor(z - move))
    return (float(ahead) - float(behind)) / (2 * abs(step))


def _energy(z: pl.Tensor) -> Any:
    return pl.sum(pl.abs(pl.sin(z) * pl.conj(z) + pl.exp(z)) ** 2)


@pytest.mark.parametrize("wrap", [lambda f: f, pl.jit], ids=["eager", "jit"])
def test_gradient_is_the_slope_of_both_parts(wrap: Callable[[Fn], Fn]) -> None:
    z = _random(4)
    found = wrap(pl.grad(_energy))(pl.Tensor(z)).numpy()
    slopes = [
        complex(_slope(_energy, z, k, 1e-6), _slope(_energy, z, k, 1e-6j)) for k in range(z.size)
    ]
    np.testing.assert_allclose(found, slopes, rtol=1e-7)


def test_second_derivative_of_a_holomorphic_function() -> None:
    z = pl.Tensor(_random(3))
    one = pl.ones((3,), dtype="complex128")

    def first(x: pl.Tensor) -> Any:
        return pl.jvp(lambda v: v * pl.exp(v), (x,), (one,))[1]

    value, second = pl.jvp(first, (z,), (one,))
    wide = z.numpy()
    np.testing.assert_allclose(value.numpy(), (wide + 1) * np.exp(wide), rtol=1e-12)
    np.testing.assert_allclose(second.numpy(), (wide + 2) * np.exp(wide), rtol=1e-12)


def test_vmap_and_jit_see_complex_numbers() -> None:
    a, b = pl.Tensor(_random(5, 3)), pl.Tensor(_random(3))

    def dot(x: pl.Tensor, y: pl.Tensor) -> Any:
        return pl.vecdot(x, y) + 1j

    want = (np.conj(a.numpy()) * b.numpy()).sum(-1) + 1j
    np.testing.assert_allclose(pl.vmap(dot, in_axes=(0, None))(a, b).numpy(), want, rtol=1e-12)
    np.testing.assert_allclose(pl.jit(dot)(a, b).numpy(), want, rtol=1e-12)


def test_a_complex_result_has_no_slope() -> None:
    z = pl.Tensor(1j, requires_grad=True)
    with pytest.raises(GradientError, match="must return a real number"):
        pl.grad(lambda x: x * x)(z)
    with pytest.raises(GradientError, match="needs a gradient argument for a complex tensor"):
        (z * z).backward()
    (z * z).backward(pl.Tensor(1 + 0j))
    assert z.grad is not None
    assert z.grad.item() == -2j  # the conjugate of 2z


def test_steps_against_the_gradient_make_a_loss_smaller() -> None:
    z, target = pl.Tensor([1 + 1j, -2j]), pl.Tensor([0.5 - 0.25j, 3.0])
    for _ in range(50):
        z = z - 0.2 * pl.grad(lambda v: pl.sum(pl.abs(v - target) ** 2))(z)
    np.testing.assert_allclose(z.numpy(), target.numpy(), atol=1e-5)


def test_jacobians_are_derivatives_of_holomorphic_functions() -> None:
    z = pl.Tensor(_random(3))
    want = np.diag((z.numpy() + 1) * np.exp(z.numpy()))
    for jacobian in (pl.jacfwd, pl.jacrev):
        np.testing.assert_allclose(jacobian(lambda v: v * pl.exp(v))(z).numpy(), want, rtol=1e-12)
    for refused in (pl.jacfwd(pl.abs), pl.hessian(lambda v: pl.abs(v).sum())):
        with pytest.raises(GradientError, match="a real function of complex numbers"):
            refused(z)


def test_views_as_pairs_of_real_numbers() -> None:
    z = pl.Tensor(_random(2, 3))
    pairs = pl.view_as_real(z)
    np.testing.assert_array_equal(pairs.numpy(), np.stack([z.numpy().real, z.numpy().imag], -1))
    np.testing.assert_array_equal(pl.view_as_complex(pairs).numpy(), z.numpy())
    found = pl.grad(lambda v: pl.sum(pl.view_as_real(v)[..., 1] ** 2))(z)
    np.testing.assert_allclose(found.numpy(), 2j * z.numpy().imag, rtol=1e-12)
    second = pl.hessian(lambda v: pl.sum(pl.abs(pl.view_as_complex(v)) ** 2))(pairs[0, :1])
    np.testing.assert_allclose(second.numpy().reshape(2, 2), 2 * np.eye(2), atol=1e-9)


def test_loops_and_branches_carry_complex_numbers() -> None:
    def spiral(z: pl.Tensor) -> Any:
        last, path = pl.scan(lambda c, x: (c * x, c + x), pl.Tensor(1 + 0j), z)
        return abs(last) ** 2 + pl.sum(pl.abs(path))

    z = pl.Tensor(_random(4).astype(np.complex64))
    eager = pl.grad(spiral)(z)
    np.testing.assert_allclose(pl.jit(pl.grad(spiral))(z).numpy(), eager.numpy(), rtol=1e-4)
    twice = pl.jit(lambda v: pl.cond(pl.abs(v).sum() > 0, lambda x: x * 1j, pl.sin, v))
    np.testing.assert_allclose(twice(z).numpy(), 1j * z.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_jitted_training_step_is_the_eager_one(name: str) -> None:
    x, w = _random(16, 4).astype(np.complex64), _random(4, 2).astype(np.complex64)

    def losses(wrap: Callable[[Fn], Fn]) -> tuple[list[float], Array]:
        weights = pl.Parameter(np.zeros((4, 2), np.complex64))
        optimizer = getattr(pl.optim, name)([weights], 0.05)

        def step(a: pl.Tensor, b: pl.Tensor) -> Any:
            optimizer.zero_grad()
            loss = (pl.abs(a @ weights - b) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = wrap(step)
        return [run(pl.Tensor(x), pl.Tensor(x @ w)).item() for _ in range(5)], weights.numpy()

    eager, jitted = losses(lambda f: f), losses(pl.jit)
    np.testing.assert_allclose(jitted[0], eager[0], rtol=1e-5)
    np.testing.assert_allclose(jitted[1], eager[1], rtol=1e-4, atol=1e-6)
    assert eager[0][-1] < eager[0][0]


def test_one_program_for_any_number_of_complex_rows() -> None:
    fn = pl.jit(lambda x: pl.exp(x) * 2j + pl.sum(x), dynamic={"x": {0: "n"}})
    for count in (3, 7, 40):
        z = _random(count)
        np.testing.assert_allclose(fn(pl.Tensor(z)).numpy(), np.exp(z) * 2j + z.sum(), rtol=1e-12)
