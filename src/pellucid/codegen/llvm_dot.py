"""Words and dot products of `loop/words.py` in LLVM: one instruction where the machine has it.

| function | instruction |
|---|---|
| `dot4u` | VNNI `vpdpbusd` |
| `dot4s` | NEON `sdot` |
| `dot2s` | VNNI `vpdpwssd`, else SSE2, AVX2, AVX-512 `pmaddwd` and an addition |
| `dot2b` | AVX-512 BF16 `vdpbf16ps` |

Elsewhere they are shifts, multiplications and additions, with the same results: integers are exact
modulo 2**32 everywhere; `dot2b` adds its products one after the other, the upper one first.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.codegen.llvm_lanes import Ops
from pellucid.codegen.llvm_types import Value, splat, splat_text, vector
from pellucid.core.dtype import float32, int32
from pellucid.core.target import Target

DOTS = frozenset(("dot4s", "dot4u", "dot2s", "dot2b"))
_WORD_MASK = 0xFFFF0000 - (1 << 32)


def join(ops: Ops, parts: Sequence[str], width: int) -> Value:
    """A word from the bits (`i8` or `i16` lanes) of its numbers, the lowest first."""
    bits = 32 // len(parts)
    narrow, wide = vector(f"i{bits}", width), vector("i32", width)
    word = ""
    for place, part in enumerate(parts):
        piece = ops.function.pure(f"zext {narrow} {part} to {wide}")
        if place:
            by = splat_text("i32", str(bits * place), width)
            piece = ops.function.pure(f"shl {wide} {piece}, {by}")
        word = ops.function.pure(f"or {wide} {word}, {piece}") if word else piece
    return Value(word, int32, width)


def add_dot(ops: Ops, fn: str, total: Value, a: Value, b: Value) -> Value:
    """`total + fn(a, b)` for words `a`, `b`; all of one width or one lane."""
    width = max(v.width for v in (total, a, b))
    total, a, b = (splat(ops.function, v, width) for v in (total, a, b))
    name, kind = _instruction(fn, width, ops.target)
    if name:
        return _by_instruction(ops, name, kind, (total, a, b))
    if fn == "dot2b":
        return _halves(ops, total, a, b)
    if fn == "dot2s" and _has_pmaddwd(ops.target, width):
        return _by_pmaddwd(ops, total, a, b)
    return _by_shifts(ops, fn, total, a, b)


def _instruction(fn: str, width: int, target: Target) -> tuple[str, str]:
    """The intrinsic that adds `fn` to `width` sums, and its operands' type; empty if none."""
    bits = 32 * width
    x86 = bits in (128, 256) and target.has("avxvnni")
    x86 |= bits in (128, 256, 512) and bits <= target.vector_bits and target.has("avx512vnni")
    if fn in ("dot4u", "dot2s") and x86:
        name = "vpdpbusd" if fn == "dot4u" else "vpdpwssd"
        return f"llvm.x86.avx512.{name}.{bits}", vector("i32", width)
    if fn == "dot2b" and bits in (128, 256, 512) and target.has("avx512bf16"):
        return f"llvm.x86.avx512bf16.dpbf16ps.{bits}", vector("bfloat", 2 * width)
    if fn == "dot4s" and bits == 128 and target.has("dotprod"):
        return "llvm.aarch64.neon.sdot.v4i32.v16i8", vector("i8", 4 * width)
    return "", ""


def _by_instruction(ops: Ops, name: str, kind: str, values: Sequence[Value]) -> Value:
    total, *words = values
    args = [(total.kind, total.text)]
    for word in words:
        text = word.text
        if kind != word.kind:
            text = ops.function.pure(f"bitcast {word.typed} to {kind}")
        args.append((kind, text))
    return Value(ops.function.intrinsic(total.kind, name, *args), total.dtype, total.width)


def _has_pmaddwd(target: Target, width: int) -> bool:
    features = {4: "sse2", 8: "avx2", 16: "avx512bw"}
    return width in features and target.has(features[width])


def _by_pmaddwd(ops: Ops, total: Value, a: Value, b: Value) -> Value:
    """Exact: the one sum that does not fit, of twice -32768 * -32768, wraps as it should."""
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[a.width]
    halves = vector("i16", 2 * a.width)
    args = [(halves, ops.function.pure(f"bitcast {v.typed} to {halves}")) for v in (a, b)]
    text = ops.function.intrinsic(a.kind, f"llvm.x86.{name}", *args)
    return ops.binary("add", total, Value(text, int32, a.width))


def _halves(ops: Ops, total: Value, a: Value, b: Value) -> Value:
    """Both products as multiply-adds in float32."""
    mask, shift = (splat(ops.function, Value(t, int32), a.width) for t in (str(_WORD_MASK), "16"))
    for name, by in (("and", mask), ("shl", shift)):
        x, y = (_as_float(ops, ops.binary(name, v, by)) for v in (a, b))
        total = ops.multiply_add(x, y, total)
    return total


def _as_float(ops: Ops, word: Value) -> Value:
    kind = vector("float", word.width)
    return Value(ops.function.pure(f"bitcast {word.typed} to {kind}"), float32, word.width)


def _by_shifts(ops: Ops, fn: str, total: Value, a: Value, b: Value) -> Value:
    """One product after the other, each number shifted up and down again."""
    bits = 8 if fn in ("dot4s", "dot4u") else 16
    for place in range(32 // bits):
        up = ops.const(a, 32 - bits * (place + 1))
        down = ops.const(a, 32 - bits)
        x = ops.binary("lshr" if fn == "dot4u" else "ashr", ops.binary("shl", a, up), down)
        y = ops.binary("ashr", ops.binary("shl", b, up), down)
        total = ops.binary("add", total, ops.binary("mul", x, y))
    return total
