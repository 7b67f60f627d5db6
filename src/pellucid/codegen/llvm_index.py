"""Index arithmetic as affine forms, so that addresses fold to constants and strides are seen.

An `Affine` is `const + sum(coefficient * name) + lane * (0, 1, 2, ...) [+ vector]`: `lane` is its
step from one SIMD lane to the next, `vector` an int64 vector for what is not affine in the lane (an
index read from memory). Names whose range is known let a division, remainder or comparison be
decided when the code is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_types import Value, index_value, iota, splat

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Affine:
    """See the module's docstring. `vector` is an SSA name or empty."""

    const: int = 0
    terms: tuple[tuple[str, int], ...] = ()
    lane: int = 0
    vector: str = ""

    @property
    def known(self) -> bool:
        """True for a plain number."""
        return not (self.terms or self.lane or self.vector)

    @property
    def uniform(self) -> bool:
        """True when every lane has the same value."""
        return not (self.lane or self.vector)


def scaled(a: Affine, factor: int) -> Affine:
    """`factor * a`, for an `a` without a vector part."""
    if factor == 0:
        return Affine()
    terms = tuple((name, factor * coefficient) for name, coefficient in a.terms)
    return Affine(factor * a.const, terms, factor * a.lane)


def added(a: Affine, b: Affine) -> Affine:
    """`a + b` where at most one has a vector part."""
    terms = dict(a.terms)
    for name, coefficient in b.terms:
        terms[name] = terms.get(name, 0) + coefficient
    kept = tuple((name, c) for name, c in terms.items() if c)
    return Affine(a.const + b.const, kept, a.lane + b.lane, a.vector or b.vector)


def range_of(a: Affine, ranges: Mapping[str, Range], width: int) -> Range | None:
    """The least and greatest value over all lanes, where every name's range is known."""
    if a.vector:
        return None
    low = high = a.const
    reach = a.lane * (width - 1)
    low, high = low + min(0, reach), high + max(0, reach)
    for name, coefficient in a.terms:
        if name not in ranges:
            return None
        ends = [coefficient * end for end in ranges[name]]
        low, high = low + min(ends), high + max(ends)
    return low, high


def split_by(a: Affine, divisor: int) -> tuple[Affine, Affine]:
    """`(q, r)` with `a = divisor * q + r` and every coefficient of `r` in `[0, divisor)`."""
    terms = [(name, *divmod(c, divisor)) for name, c in a.terms]
    q_const, r_const = divmod(a.const, divisor)
    q_lane, r_lane = divmod(a.lane, divisor)
    quotient = Affine(q_const, tuple((n, q) for n, q, _ in terms if q), q_lane)
    return quotient, Affine(r_const, tuple((n, r) for n, _, r in terms if r), r_lane)


def scalar_part(function: Function, a: Affine, with_const: bool = True) -> str:
    """The part of `a` that all lanes share, as an i64, summed from the outermost loop inwards."""
    total = ""
    for name, coefficient in sorted(a.terms, key=lambda t: (function.level_of(t[0]), t[0])):
        product = name if coefficient == 1 else function.pure(f"mul i64 {name}, {coefficient}")
        total = function.pure(f"add i64 {total}, {product}") if total else product
    if not total:
        return str(a.const if with_const else 0)
    return function.pure(f"add i64 {total}, {a.const}") if with_const and a.const else total


def materialize(function: Function, a: Affine, width: int) -> Value:
    """`a` as an int64 value: a scalar when uniform, else `width` lanes."""
    if a.uniform:
        return index_value(scalar_part(function, a))
    kind = f"<{width} x i64>"
    lanes = a.vector
    if a.lane:
        steps = iota(width, a.lane)
        lanes = function.pure(f"add {kind} {lanes}, {steps}") if lanes else steps
    base = replace(a, lane=0, vector="")
    if base.known and base.const == 0:
        # A literal vector is not a name; adding nothing keeps every caller's `literal` test right.
        return index_value(function.pure(f"add {kind} {lanes}, zeroinitializer"), width)
    shared = splat(function, index_value(scalar_part(function, base)), width)
    return index_value(function.pure(f"add {kind} {shared.text}, {lanes}"), width)
