"""Attention that never holds the matrix of all scores: `attention` and its gradient.

Saved for the gradient are the output and one number a row, the log-sum-exp of its scores, from
which `attention_grad` makes the weights again block by block (Dao 2023). Second derivatives are
compositions, which do hold the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import bool_, float32, float64
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape, size_of
from pellucid.graph.ir import Attrs, TensorType, Value, emit_all
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Loops, Lowering
from pellucid.ops.arithmetic import add, multiply, negative, subtract
from pellucid.ops.attention_loops import Problem, backward_loops, forward_loops
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.comparison import greater_equal, where
from pellucid.ops.contraction import matmul
from pellucid.ops.create import iota
from pellucid.ops.layout import expand_dims, swapaxes
from pellucid.ops.pointwise import moved_bytes
from pellucid.ops.reduction import sum
from pellucid.ops.shared import Array, Types, real
from pellucid.ops.unary import exp

SOFTMAX_FLOPS = 4  # of one score: scaled, compared, raised, added


def attention_scores(
    query: Value, key: Value, mask: Value | None, *, causal: bool, scale: float
) -> Value:
    """`query @ key.T * scale + mask`, `[..., L, S]`, -inf where a query does not see a key."""
    scores = multiply(matmul(query, swapaxes(key, -1, -2)), scale)
    if causal:
        pair = scores.shape[-2:]
        scores = where(greater_equal(iota(pair, 0), iota(pair, 1)), scores, -math.inf)
    if mask is None:
        return scores
    if mask.dtype.kind == "bool":
        return where(mask, scores, -math.inf)
    return add(scores, astype(mask, scores.dtype))


def flash_attention(
    query: Value, key: Value, value: Value, mask: Value | None, *, causal: bool, scale: float
) -> Value:
    """`softmax(scores) @ value` in memory that grows with the tokens, not with their pairs.

    Args:
        query: `[..., L, E]`, float32 or float64, as are `key` `[..., S, E]` and `value` `[..., S,
            D]`; leading axes are equal.
        key: see `query`.
        value: see `query`.
        mask: `[..., L, S]`, any axis may be 1; bool or of the queries' dtype.
        causal: position i sees positions up to i only.
        scale: of the scores.
    """
    given = [v for v in (query, key, value, mask) if v is not None]
    return emit_all(ATTENTION, *given, causal=causal, scale=scale)[0]


def _check(name: str, q: TensorType, k: TensorType, v: TensorType, mask: Types) -> None:
    operands: dict[str, object] = {"query": q, "key": k, "value": v}
    operands |= dict(zip(("mask",), mask, strict=False))
    if len({t.dtype for t in (q, k, v)}) > 1 or q.dtype not in (float32, float64):
        raise DTypeError(name, "operands must be float32 or all float64", operands=operands)
    fits = min(q.rank, k.rank, v.rank) >= 2 and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    if not fits or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        rule = "needs [..., L, E], [..., S, E] and [..., S, D]"
        raise ShapeError(name, rule, operands=operands)
    if 0 in (*q.shape[-2:], *v.shape[-2:]):
        raise ShapeError(name, "needs queries, keys and features", operands=operands)
    for m in mask:
        _check_mask(name, m, (*q.shape[:-1], k.shape[-2]), operands, q)


def _check_mask(
    name: str, mask: TensorType, scores: Shape, operands: dict[str, object], q: TensorType
) -> None:
    if mask.dtype not in (bool_, q.dtype):
        raise DTypeError(name, "a mask is bool or of the queries' dtype", operands=operands)
    pairs = zip(mask.shape, scores, strict=False)
    if mask.rank != len(scores) or any(m not in (1, n) for m, n in pairs):
        raise ShapeError(name, "a mask is [..., L, S] with some axes 1", operands=operands)


def _infer(
    q: TensorType, k: TensorType, v: TensorType, *mask: TensorType, causal: bool, scale: float
) -> tuple[TensorType, ...]:
    _check("attention", q, k, v, mask)
    return TensorType((*q.shape[:-1], v.shape[-1]), q.dtype), TensorType(q.shape[:-1], q.dtype)


def _infer_grad(  # noqa: PLR0913  # one argument an operand
    q: TensorType, k: TensorType, v: TensorType, g: TensorType, lse: TensorType,
    delta: TensorType, *mask: TensorType, causal: bool, scale: float,
) -> tuple[TensorType, ...]:  # fmt: skip
    _check("attention_grad", q, k, v, mask)
    rows = TensorType(q.shape[:-1], q.dtype)
    if g != TensorType((*q.shape[:-1], v.shape[-1]), q.dtype) or (lse, delta) != (rows, rows):
        operands = {"query": q, "value": v, "cotangent": g, "lse": lse, "delta": delta}
        rule = "needs a cotangent [..., L, D], and lse and delta [..., L]"
        raise ShapeError("attention_grad", rule, operands=operands)
    return q, k, v


def _raw_scores(q: Array, k: Array, mask: Sequence[Array], causal: bool, scale: float) -> Array:
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * q.dtype.type(scale)
    if causal:
        pair = np.tri(*scores.shape[-2:], dtype=np.bool_)
        scores = np.where(pair, scores, -np.inf).astype(q.dtype)
    for m in mask:
        hidden = np.where(m, scores, -np.inf) if m.dtype == np.bool_ else scores + m
        scores = hidden.astype(q.dtype)
    return np.asarray(scores)


def _reference(
    q: Array, k: Array, v: Array, *mask: Array, causal: bool, scale: float
) -> tuple[Array, Array]:
    with np.errstate(all="ignore"):
        scores = _raw_scores(q, k, mask, causal, scale)
        top = scores.max(-1, keepdims=True)
        raised = np.exp(scores - np.where(top == -np.inf, 0, top))
        total = raised.sum(-1, keepdims=True)
        share = 1 / np.where(total == 0, 1, total) if mask else 1 / total
        empty = q.dtype.type(np.inf if mask else np.nan)
        lse = np.where(total == 0, empty, top + np.log(total))[..., 0]
        return np.matmul(raised * share, v).astype(q.dtype), lse.astype(q.dtype)


def _grad_reference(  # noqa: PLR0913  # one argument an operand
    q: Array, k: Array, v: Array, g: Array, lse: Array, delta: Array, *mask: Array,
    causal: bool, scale: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    with np.errstate(all="ignore"):
        weights = np.exp(_raw_scores(q, k, mask, causal, scale) - lse[..., None])
        gaps = np.matmul(g, np.swapaxes(v, -1, -2)) - delta[..., None]
        slopes = weights * gaps * q.dtype.type(scale)
        made = (
            np.matmul(slopes, k),
            np.matmul(np.swapaxes(slopes, -1, -2), q),
            np.matmul(np.swapaxes(weights, -1, -2), g),
        )
    return made[0].astype(q.dtype), made[1].astype(q.dtype), made[2].astype(q.dtype)


def _turn(x: Value) -> Value:
    return swapaxes(x, -1, -2)


def _column(x: Value) -> Value:
    return expand_dims(x, -1)


def _row_sums(a: Value, b: Value) -> Value:
    return sum(multiply(a, b), -1)


def _total(*terms: Value | None) -> Value | None:
    """The sum of what is there."""
    made: Value | None = None
    for term in terms:
        made = term if made is None else made if term is None else add(made, term)
    return made


def _product(a: Value | None, b: Value | None) -> Value | None:
    return None if a is None or b is None else matmul(a, b)


class _Composed:
    """The matrices that derivatives of both records are written in, made as compositions."""

    def __init__(self, site: Site, mask_at: int, lse: Value) -> None:
        self.q, self.k, self.v = site.inputs[:3]
        self.scale = float(real(site.attrs, "scale"))
        self.mask = site.inputs[mask_at] if len(site.inputs) > mask_at else None
        scores = attention_scores(
            self.q, self.k, self.mask, causal=bool(site.attrs["causal"]), scale=self.scale
        )
        self.weights = exp(subtract(scores, _column(lse)))

    def moved_scores(self, tq: Value | None, tk: Value | None, tm: Value | None) -> Value | None:
        """The tangent of the scores."""
        left = _product(tq, _turn(self.k))
        right = None if tk is None else matmul(self.q, _turn(tk))
        moved = _total(left, right)
        moved = None if moved is None else multiply(moved, self.scale)
        if tm is None:
            return moved
        return broadcast_to(tm, self.weights.shape) if moved is None else add(moved, tm)

    def to_mask(self, slopes: Value) -> Value | None:
        """A cotangent of the scores as one of the mask."""
        if self.mask is None or not self.mask.dtype.is_float:
            return None
        pairs = zip(self.mask.shape, slopes.shape, strict=True)
        axes = tuple(a for a, (m, n) in enumerate(pairs) if m != n)
        return sum(slopes, axes, keepdims=True) if axes else slopes


def _vjp(site: Site, g: Value, g_lse: Value) -> Sequence[Value | None]:
    (q, k, v, *mask), (out, lse) = site.inputs, site.outputs
    delta = subtract(_row_sums(g, out), g_lse)
    found: list[Value | None] = list(
        emit_all(ATTENTION_GRAD, q, k, v, g, lse, delta, *mask, **site.attrs)
    )
    if mask and (not site.wanted or site.wanted[3]) and mask[0].dtype.is_float:
        made = _Composed(site, 3, lse)
        gaps = subtract(matmul(g, _turn(v)), _column(delta))
        return [*found, made.to_mask(multiply(made.weights, gaps))]
    return [*found, *(None for _ in mask)]


def _jvp(
    site: Site, tq: Value | None, tk: Value | None, tv: Value | None, *tm: Value | None
) -> Sequence[Value | None]:
    out, lse = site.outputs
    made = _Composed(site, 3, lse)
    moved = made.moved_scores(tq, tk, tm[0] if tm else None)
    mixed = _product(made.weights, tv)
    if moved is None:
        return (mixed, None)
    mean = _row_sums(made.weights, moved)
    change = matmul(multiply(made.weights, moved), made.v)
    return _total(mixed, subtract(change, multiply(_column(mean), out))), mean


def _grad_vjp(
    site: Site, a: Value, b: Value, c: Value
) -> Sequence[Value | None]:  # cotangents of dq, dk, dv
    g, lse, delta = site.inputs[3:6]
    made = _Composed(site, 6, lse)
    q, k, v, scale = made.q, made.k, made.v, made.scale
    gaps = subtract(matmul(g, _turn(v)), _column(delta))
    slopes = multiply(made.weights, gaps)
    of_slopes = multiply(add(matmul(a, _turn(k)), matmul(q, _turn(b))), scale)
    of_weights = add(matmul(g, _turn(c)), multiply(of_slopes, gaps))
    of_gaps, of_scores = multiply(of_slopes, made.weights), multiply(of_weights, made.weights)
    found: list[Value | None] = [
        multiply(add(matmul(of_scores, k), matmul(slopes, b)), scale),
        multiply(add(matmul(_turn(of_scores), q), matmul(_turn(slopes), a)), scale),
        matmul(_turn(of_gaps), g),
        add(matmul(of_gaps, v), matmul(made.weights, c)),
        negative(sum(of_scores, -1)),
        negative(sum(of_gaps, -1)),
    ]
    return found if made.mask is None else [*found, made.to_mask(of_scores)]


def _grad_jvp(  # noqa: PLR0913, PLR0917  # one tangent an operand
    site: Site, tq: Value | None, tk: Value | None, tv: Value | None, tg: Value | None,
    tl: Value | None, td: Value | None, *tm: Value | None,
) -> Sequence[Value | None]:  # fmt: skip
    g, lse, delta = site.inputs[3:6]
    made = _Composed(site, 6, lse)
    q, k, v, scale = made.q, made.k, made.v, made.scale
    moved = _total(
        made.moved_scores(tq, tk, tm[0] if tm else None),
        None if tl is None else negative(_column(tl)),
    )
    t_weights = None if moved is None else multiply(made.weights, moved)
    gaps = subtract(matmul(g, _turn(v)), _column(delta))
    t_gaps = _total(
        _product(tg, _turn(v)),
        None if tv is None else matmul(g, _turn(tv)),
        None if td is None else negative(_column(td)),
    )
    slopes = multiply(multiply(made.weights, gaps), scale)
    t_slopes = _total(
        None if t_weights is None else multiply(multiply(t_weights, gaps), scale),
        None if t_gaps is None else multiply(multiply(made.weights, t_gaps), scale),
    )
    turned = None if t_slopes is None else _turn(t_slopes)
    return (
        _total(_product(t_slopes, k), _product(slopes, tk)),
        _total(_product(turned, q), _product(_turn(slopes), tq)),
        _total(
            None if t_weights is None else matmul(_turn(t_weights), g),
            _product(_turn(made.weights), tg),
        ),
    )


def _batch(
    op: Op, mask_at: int, site: Site, batched: tuple[bool, ...], size: int
) -> Sequence[Value]:
    pairs = enumerate(zip(site.inputs, batched, strict=True))
    given = [
        v if on else expand_dims(v, 0) if i == mask_at else broadcast_to(v, (size, *v.shape))
        for i, (v, on) in pairs
    ]
    return emit_all(op, *given, **site.attrs)


def _problem(inputs: Types, attrs: Attrs) -> Problem:
    q, k, v = inputs[:3]
    return Problem(
        lead=q.shape[:-2], queries=q.shape[-2], keys=k.shape[-2], width=q.shape[-1],
        depth=v.shape[-1], causal=bool(attrs["causal"]), scale=float(real(attrs, "scale")),
        dtype=q.dtype,
    )  # fmt: skip


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    problem = _problem(inputs, attrs)
    return Loops(build=lambda sources, outs: forward_loops(problem, sources, outs))


def _lower_grad(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    problem = _problem(inputs, attrs)
    return Loops(build=lambda sources, outs: backward_loops(problem, sources, outs))


def _pairs(problem: Problem) -> int:
    """Queries with the keys they look at."""
    queries, keys = problem.queries, problem.keys
    short = min(queries, keys)
    seen = short * (short + 1) // 2 + (queries - short) * keys
    return size_of(problem.lead) * (seen if problem.causal else queries * keys)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    problem = _problem(inputs, attrs)
    each = 2 * (problem.width + problem.depth) + SOFTMAX_FLOPS
    return Cost(_pairs(problem) * each, moved_bytes(inputs, outputs))


def _grad_cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    problem = _problem(inputs, attrs)
    each = 2 * (3 * problem.width + 2 * problem.depth) + SOFTMAX_FLOPS
    return Cost(_pairs(problem) * each, moved_bytes(inputs, outputs))


_CASES = (
    ((2, 3), 5, 7, 3, 4, False), ((2,), 6, 6, 4, 4, True), ((), 1, 1, 1, 1, True),
    ((), 3, 5, 2, 1, True), ((1,), 5, 2, 2, 3, True),
)  # fmt: skip


def _samples() -> Sequence[Sample]:
    made = []
    for lead, queries, keys, width, depth, causal in _CASES:
        shapes = ((queries, width), (keys, width), (keys, depth))
        for dtype in (float32, float64):
            types = tuple(TensorType((*lead, *s), dtype) for s in shapes)
            made.append(Sample(types, {"causal": causal, "scale": 0.5}))
    q, k = TensorType((2, 2, 4, 3), float64), TensorType((2, 2, 5, 3), float64)
    bools = np.tri(4, 5, dtype=np.bool_).reshape(1, 1, 4, 5)
    masks = (bools, TensorType((2, 1, 1, 5), float64), TensorType((1, 2, 4, 5), float64))
    return [*made, *(Sample((q, k, k, m), {"causal": False, "scale": 0.7}) for m in masks)]


def _grad_samples() -> Sequence[Sample]:
    made = []
    for sample in _samples():
        q, _, v, *mask = sample.inputs
        rows = TensorType(q.shape[:-1], float64)
        if isinstance(q, TensorType):
            rows = TensorType(q.shape[:-1], q.dtype)
        g = TensorType((*rows.shape, v.shape[-1]), rows.dtype)
        made.append(Sample((*sample.inputs[:3], g, rows, rows, *mask), sample.attrs))
    return made


ATTENTION: Op = Op(
    name="attention",
    doc=(
        "softmax(scale * q @ k.T + mask) @ v, and each row's log-sum-exp (NaN for a row of only"
        " -inf; infinity, and zeros, where a mask hides all). Primitive: composition would hold all"
        " scores, and its softmax needs whole rows of them (Dao 2023)."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=lambda site, batched, size: _batch(ATTENTION, 3, site, batched, size),
    lower=_lower,
    cost=_cost,
    samples=_samples,
)
ATTENTION_GRAD: Op = Op(
    name="attention_grad",
    doc=(
        "The gradients of attention by q, k and v from its output's cotangent g, its log-sum-exp,"
        " and delta = sum(g * output) - (cotangent of the log-sum-exp). Primitive: composition"
        " would hold all weights; here they are made again, block by block."
    ),
    infer=_infer_grad,
    reference=_grad_reference,
    vjp=_grad_vjp,
    jvp=_grad_jvp,
    batch=lambda site, batched, size: _batch(ATTENTION_GRAD, 6, site, batched, size),
    lower=_lower_grad,
    cost=_grad_cost,
    samples=_grad_samples,
)

RECORDS: tuple[Op, ...] = (ATTENTION, ATTENTION_GRAD)
