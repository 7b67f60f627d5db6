"""The attention primitive against float64 and against the composition: sizes, masks, derivatives,
special values, memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import ops
from pellucid.core.dtype import bool_, float16, float32, float64
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.nn import functional as F
from pellucid.ops.flash_attention import flash_attention
from tests.lower.execution import run_program
from tests.ops.gradient import grad
from tests.ops.records import run1, trace, type_of

RNG = np.random.default_rng(0)
Array = NDArray[Any]


def _operands(
    lead: tuple[int, ...], queries: int, keys: int, width: int, depth: int, dtype: Any = np.float32
) -> list[Array]:
    shapes = ((queries, width), (keys, width), (keys, depth), (queries, depth))
    return [RNG.normal(size=(*lead, *s)).astype(dtype) for s in shapes]


def _weights(q: Array, k: Array, mask: Array | None, causal: bool) -> Array:
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == np.bool_ else scores + mask
    top = scores.max(-1, keepdims=True)
    raised = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = raised.sum(-1, keepdims=True)
    return np.asarray(raised / np.where(total == 0, 1, total))


def _expected(arrays: list[Array], mask: Array | None, causal: bool) -> list[Array]:
    """The output and the gradients of q, k and v, by their formulas in float64."""
    q, k, v, g = (x.astype(np.float64) for x in arrays)
    weights = _weights(q, k, mask, causal)
    gaps = g @ v.swapaxes(-1, -2)
    slopes = weights * (gaps - (weights * gaps).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return [weights @ v, slopes @ k, slopes.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g]


def _compiled(arrays: list[Array], mask: Array | None, causal: bool) -> list[Array]:
    seen = None if mask is None else pl.Tensor(mask)

    def attend(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, seen, is_causal=causal)

    def both(q: Any, k: Any, v: Any, g: Any) -> Any:
        out, pull = pl.vjp(attend, q, k, v)
        return (out, *pull(g))

    tensors = [pl.Tensor(a) for a in arrays]
    assert "attention_grad" in str(pl.jit(both).lower(*tensors).graph)
    return [t.numpy() for t in pl.jit(both)(*tensors)]


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(
    "sizes",
    [
        ((2, 3), 200, 200, 32, 32), ((1, 2), 131, 257, 17, 33), ((3,), 257, 131, 33, 5),
        ((), 16, 1031, 8, 8), ((9,), 1031, 17, 1, 1), ((1,), 193, 192, 128, 64),
    ],
    ids=str,
)  # fmt: skip
def test_any_sizes(sizes: Any, causal: bool) -> None:
    arrays = _operands(*sizes)
    for got, want in zip(_compiled(arrays, None, causal), _expected(arrays, None, causal),
                         strict=True):  # fmt: skip
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def _blind_row() -> Array:
    mask = RNG.random((150, 170)) < 0.6
    mask[7] = False
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        RNG.random((2, 1, 1, 170)) < 0.6, RNG.random((1, 3, 150, 1)) < 0.6, _blind_row(),
        RNG.normal(size=(3, 150, 170)).astype(np.float32), RNG.normal(size=170).astype(np.float32),
    ],
    ids=["padding", "queries", "blind row", "float", "vector"],
)  # fmt: skip
def test_masks(mask: Array) -> None:
    arrays = _operands((2, 3), 150, 170, 24, 24)
    for got, want in zip(_compiled(arrays, mask, False), _expected(arrays, mask, False),
                         strict=True):  # fmt: skip
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_float64_and_narrow_floats() -> None:
    for dtype, tolerance in ((np.float64, 1e-12), (np.float16, 5e-3)):
        arrays = _operands((2,), 192, 192, 16, 16, dtype)
        for got, want in zip(_compiled(arrays, None, True), _expected(arrays, None, True),
                             strict=True):  # fmt: skip
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def _composed(q: Value, k: Value, v: Value, mask: Value | None, **how: Any) -> Value:
    return ops.matmul(ops.attention_weights(q, k, mask, **how), v)


@pytest.mark.parametrize("kind", ["causal", "mask"])
def test_derivatives_of_all_orders_are_the_compositions(kind: str) -> None:
    q, k, v, _ = _operands((2,), 16, 17, 3, 4, np.float64)
    causal = kind == "causal"
    masks = () if causal else (RNG.normal(size=(1, 16, 17)),)
    places = (0, 1, 2, 3)[: 3 + len(masks)]
    tangents = [RNG.normal(size=a.shape) for a in (q, k, v, *masks)]

    def derivatives(attend: Any) -> Any:
        def loss(q: Any, k: Any, v: Any, *m: Any) -> Any:
            out = F.call(attend, q, k, v, m[0] if m else None, is_causal=causal)
            return (out * out).sum()

        first = pl.grad(loss, argnums=places)
        return pl.jit(
            lambda *args: (
                first(*args[: len(places)]),
                pl.jvp(first, args[: len(places)], args[len(places) :])[1],
            )
        )

    arrays = [pl.Tensor(a) for a in (q, k, v, *masks, *tangents)]
    for got, want in zip(
        *(derivatives(f)(*arrays) for f in (ops.scaled_dot_product_attention, _composed)),
        strict=True,
    ):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9)


def test_gradient_agrees_with_differences() -> None:
    arrays = _operands((), 129, 128, 2, 2, np.float64)[:3]

    def total(q: Value, k: Value, v: Value) -> Value:
        return ops.sum(ops.square(ops.scaled_dot_product_attention(q, k, v, is_causal=True)))

    step = [RNG.normal(size=a.shape) for a in arrays]
    ahead, behind = (
        run1(total, *(a + s * 1e-6 * d for a, d in zip(arrays, step, strict=True))) for s in (1, -1)
    )
    slope = sum((g * d).sum() for g, d in zip(grad(total, *arrays), step, strict=True))
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-6)


def test_vmap_over_one_operand() -> None:
    q, k, v, _ = _operands((3,), 140, 150, 8, 8)
    attend = F.scaled_dot_product_attention
    got = pl.vmap(attend, in_axes=(0, None, None))(*map(pl.Tensor, (q, k[0], v[0])))
    same = [np.broadcast_to(x[:1], x.shape).copy() for x in (k, v)]
    want = _expected([q, *same, q], None, False)[0]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_special_values_reach_what_they_reach_in_the_composition(value: float, place: int) -> None:
    arrays = _operands((1,), 140, 150, 8, 8)[:3]
    arrays[place][0, 77, 3] = value
    with np.errstate(all="ignore"):
        want = run1(lambda q, k, v: _composed(q, k, v, None), *arrays)
    q, k, v = map(pl.Tensor, arrays)
    got = pl.jit(F.scaled_dot_product_attention)(q, k, v).numpy()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_loops_agree_with_the_reference(causal: bool) -> None:
    arrays = _operands((2,), 70, 141, 2, 3)[:3]

    def attend(q: Value, k: Value, v: Value) -> Value:
        return flash_attention(q, k, v, None, causal=causal, scale=0.7)

    graph = trace(attend, *map(type_of, arrays))
    (call,) = lower_graph(graph).calls
    verify_kernel(call.kernel)
    want = run1(attend, *arrays)
    np.testing.assert_allclose(run_program(lower_graph(graph), arrays)[0], want, 1e-4, 1e-5)


def test_memory_grows_with_tokens_not_with_pairs() -> None:
    def bytes_of(tokens: int) -> int:
        def step(q: Any, k: Any, v: Any) -> Any:
            def total(q: Any, k: Any, v: Any) -> Any:
                return F.scaled_dot_product_attention(q, k, v, is_causal=True).sum()

            return pl.grad(total, argnums=(0, 1, 2))(q, k, v)

        program = pl.jit(step).lower(*(pl.zeros((1, 2, tokens, 32)) for _ in range(3))).compiled
        return _bytes(program)

    small, large = bytes_of(1024), bytes_of(4096)
    assert large < 4.5 * small
    assert large < 4096 * 4096 * 4 / 4  # a quarter of one matrix of scores


def _bytes(program: Any) -> int:
    """Bytes of a program's temporaries and of its kernels' own memory, for two threads."""
    temps: int = sum(s.type.nbytes for s in program.lowered.slots if s.role == "temp")
    scratch = [kernel.scratch for kernel in program.kernels.values()]
    return temps + max(int(s.nbytes(2)) for s in scratch)


def test_what_does_not_fit_is_refused() -> None:
    with GraphBuilder("f") as builder:
        q, k = (builder.input(TensorType((2, n, 3), float32)) for n in (4, 5))
        bad = builder.input(TensorType((2, 4, 4), bool_))
        half = builder.input(TensorType((2, 4, 3), float16))
        wide = builder.input(TensorType((1, 4, 5), float64))
        for error, match, args in (
            (ShapeError, r"needs \[..., L, E\]", (q, k, q, None)),
            (ShapeError, "a mask is", (q, k, k, bad)),
            (DTypeError, "float32 or all float64", (half, k, k, None)),
            (DTypeError, "a mask is bool", (q, k, k, wide)),
        ):
            with pytest.raises(error, match=match):
                flash_attention(*args, causal=False, scale=1.0)
