"""Expressions of the loop IR as LLVM values: scalars, or vectors inside a `vector` loop.

A `Writer` knows the bindings in force: each loop variable's affine form, each buffer's storage, the
SIMD width and the mask of active lanes. A value has width 1 when all lanes agree and the full width
otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pellucid.codegen.llvm_cast import bitcast, from_memory
from pellucid.codegen.llvm_dot import join
from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_guard import bounds_of, unclamped
from pellucid.codegen.llvm_index import (
    Affine,
    Range,
    added,
    materialize,
    range_of,
    scalar_part,
    scaled,
    split_by,
)
from pellucid.codegen.llvm_lanes import Ops
from pellucid.codegen.llvm_ops import apply
from pellucid.codegen.llvm_stride import MOST_STEP, chunks_touched, gather_chunks, read_mask
from pellucid.codegen.llvm_types import (
    Value,
    constant,
    index_value,
    iota,
    splat,
    storage,
    suffix,
    vector,
)
from pellucid.core.dtype import DType, bool_, int32, int64, uint8, uint16
from pellucid.core.errors import LoweringError
from pellucid.core.target import Target
from pellucid.loop.ir import Call, Const, Expr, Load, Var

_DECIDED = {
    "lt": lambda low, high: True if high < 0 else False if low >= 0 else None,
    "le": lambda low, high: True if high <= 0 else False if low > 0 else None,
    "gt": lambda low, high: True if low > 0 else False if high <= 0 else None,
    "ge": lambda low, high: True if low >= 0 else False if high < 0 else None,
    "eq": lambda low, high: True if low == high == 0 else False if low > 0 or high < 0 else None,
    "ne": lambda low, high: False if low == high == 0 else True if low > 0 or high < 0 else None,
}


_UNSIGNED = {8: uint8, 16: uint16}


@dataclass(slots=True)
class Storage:
    """Where a buffer lies.

    `lanes` > 1: it was allocated inside a vector loop and holds one copy per lane, side by side.
    `padded`: whole vectors may be read and written past its end (our own stack memory), `row` the
    length of its padded rows. `version` counts the stores to it and `pin` is the innermost open
    loop that stores to it: what keeps a load from being reused or hoisted wrongly.
    """

    pointer: str
    dtype: DType
    strides: tuple[int, ...]
    lanes: int = 1
    padded: bool = False
    row: int = 0
    version: int = 0
    pin: int = 0
    align: int = 0

    @property
    def alignment(self) -> int:
        """Bytes that every element is aligned to: one element's, if not given."""
        return self.align or self.dtype.itemsize


def _is_of_rows(place: Storage, form: Affine) -> bool:
    """Whether lanes read one element each of rows as long as lanes are apart, which lie in memory
    as wholes.
    """
    rows = len(place.strides) > 1 and place.strides[-2] == form.lane
    return rows and all(factor % form.lane == 0 for _, factor in form.terms)


# vectors as they are in memory, by pointer, version and address
Turned = dict[tuple[str, DType, int, Affine], str]


@dataclass(slots=True)
class Expressions:
    """Evaluates expressions under the current bindings; `llvm_kernel.Writer` adds statements."""

    function: Function
    target: Target
    variables: dict[str, Affine] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)
    width: int = 1
    mask: str = ""
    turned: Turned = field(default_factory=dict)

    @property
    def ops(self) -> Ops:
        """Operations written into the current function."""
        return Ops(self.function, self.target)

    def value(self, expr: Expr) -> Value:
        """The value of `expr`."""
        match expr:
            case Const(value, dtype):
                return constant(value, dtype)
            case Var():
                return materialize(self.function, self.affine(expr), self.width)
            case Load():
                return self.load(expr)
            case Call(fn, args, dtype):
                if dtype == int64 and fn in ("add", "sub", "mul", "floordiv", "mod"):
                    return materialize(self.function, self.affine(expr), self.width)
                if fn in _DECIDED and args[0].dtype == int64:
                    return self.comparison(fn, args)
                return self._call(fn, args, dtype)

    def _call(self, fn: str, args: tuple[Expr, ...], dtype: DType) -> Value:
        if fn in ("pack2", "pack4"):
            return self._word(args)
        if fn == "select" and self.width > 1:
            guarded = self._guarded_load(*args)
            if guarded is not None:
                return guarded
        values = [self.value(a) for a in args]
        if fn == "select" and values[0].literal and values[0].width == 1:
            return values[1] if values[0].text == "true" else values[2]
        result = apply(self.ops, fn, values, dtype)
        if dtype == int64 and result.width == 1 and fn in ("min", "max"):
            self._note_range(fn, args, result.text)
        return result

    def _guarded_load(self, condition: Expr, taken: Expr, other: Expr) -> Value | None:
        """`select(inside, x[nearest index inside], 0)` as a load of the lanes that are inside."""
        if not isinstance(taken, Load) or other != Const(0, taken.dtype):
            return None
        place = self.storages[taken.buffer.name]
        if place.padded or place.lanes > 1 or not self.address(place, taken.indices).vector:
            return None
        bounds = bounds_of(condition, self.affine)
        indices = tuple(unclamped(i, bounds, self.affine) for i in taken.indices)
        form = self.address(place, indices)
        if form.vector or not 1 <= form.lane <= MOST_STEP:
            return None
        inside = splat(self.function, self.value(condition), self.width).text
        mask = self.mask
        self.mask = (
            self.function.pure(f"and <{self.width} x i1> {mask}, {inside}") if mask else inside
        )
        value = self.load_at(place, form)
        self.mask = mask
        return value

    def _word(self, parts: tuple[Expr, ...]) -> Value:
        """Numbers as one word: a single load where they are neighbours in memory."""
        first = self._first_of_neighbours(parts)
        if first is not None:
            return self._load_words(first, len(parts))
        values = [self._bits_of(x) for x in parts]
        width = max(v.width for v in values)
        return join(self.ops, [splat(self.function, v, width).text for v in values], width)

    def _first_of_neighbours(self, parts: tuple[Expr, ...]) -> Load | None:
        """The first of loads that follow each other in memory."""
        loads = [x for x in parts if isinstance(x, Load)]
        if len(loads) != len(parts) or len({x.buffer.name for x in loads}) > 1:
            return None
        place = self.storages[loads[0].buffer.name]
        first, *others = (self.address(place, x.indices) for x in loads)
        follow = all(f == replace(first, const=first.const + n) for n, f in enumerate(others, 1))
        return loads[0] if follow and place.lanes == 1 else None

    def _load_words(self, first: Load, size: int) -> Value:
        """The words that start at an element, each lane's at its own."""
        place = self.storages[first.buffer.name]
        form, align = self.address(place, first.indices), place.dtype.itemsize
        if form.vector or form.lane not in (0, size):
            words = replace(place, dtype=int32, align=align)
            return self._gather_at(words, self.lane_pointers(place, form))
        pointer = self.pointer(place, replace(form, lane=0))
        words = replace(place, pointer=pointer, dtype=int32, align=align)
        return self.load_at(words, Affine(lane=form.lane // size))

    def _bits_of(self, part: Expr) -> Value:
        """A number's bits as an unsigned integer, read from memory as they are if possible."""
        dtype = _UNSIGNED[part.dtype.bits]
        if isinstance(part, Load):
            place = self.storages[part.buffer.name]
            return self.load_at(replace(place, dtype=dtype), self.address(place, part.indices))
        if isinstance(part, Call) and part.fn == "select":
            sides = [self._bits_of(x) for x in part.args[1:]]
            return apply(self.ops, "select", [self.value(part.args[0]), *sides], dtype)
        return bitcast(self.function, self.value(part), dtype, self.target)

    def _note_range(self, fn: str, args: tuple[Expr, ...], name: str) -> None:
        first, second = (range_of(self.affine(a), self.ranges, self.width) for a in args)
        if first is not None and second is not None:
            pick = min if fn == "min" else max
            self.ranges[name] = pick(first[0], second[0]), pick(first[1], second[1])

    def comparison(self, fn: str, args: tuple[Expr, ...]) -> Value:
        """An int64 comparison, decided now where the ranges allow."""
        left, right = self.affine(args[0]), self.affine(args[1])
        if not (left.vector or right.vector):
            reach = range_of(added(left, scaled(right, -1)), self.ranges, self.width)
            decided = None if reach is None else _DECIDED[fn](*reach)
            if decided is not None:
                return constant(decided, bool_)
        values = [materialize(self.function, a, self.width) for a in (left, right)]
        return apply(self.ops, fn, values, bool_)

    def affine(self, expr: Expr) -> Affine:
        """An int64 expression as an affine form; what is not affine becomes a name in it."""
        match expr:
            case Const(value, _):
                return Affine(int(value))
            case Var(name):
                return self.variables[name]
            case Call(fn, (a, b), dtype) if dtype == int64:
                form = self._affine_call(fn, self.affine(a), self.affine(b))
                if form is not None:
                    return form
                if fn in ("add", "sub", "mul", "floordiv", "mod"):
                    values = [
                        materialize(self.function, self.affine(x), self.width) for x in (a, b)
                    ]
                    return self._named(apply(self.ops, fn, values, int64))
        return self._named(self.value(expr))

    def _named(self, value: Value) -> Affine:
        if value.width > 1:
            return Affine(vector=value.text)
        return Affine(int(value.text)) if value.literal else Affine(terms=((value.text, 1),))

    def _affine_call(self, fn: str, a: Affine, b: Affine) -> Affine | None:
        """`fn(a, b)` as an affine form, or None."""
        if fn == "add" and not (a.vector and b.vector):
            return added(a, b)
        if fn == "sub" and not b.vector:
            return added(a, scaled(b, -1))
        if fn == "mul" and a.known and not b.vector:
            return scaled(b, a.const)
        if fn == "mul" and b.known and not a.vector:
            return scaled(a, b.const)
        if fn in ("floordiv", "mod") and b.known and b.const > 0 and not a.vector:
            return self._affine_division(fn, a, b.const)
        if fn in ("min", "max"):
            return self._affine_extremum(fn, a, b)
        return None

    def _affine_extremum(self, fn: str, a: Affine, b: Affine) -> Affine | None:
        if a.vector or b.vector:
            return None
        reach = range_of(added(a, scaled(b, -1)), self.ranges, self.width)
        if reach is None or reach[0] < 0 < reach[1]:
            return None
        a_is_less = reach[1] <= 0
        return a if a_is_less == (fn == "min") else b

    def _affine_division(self, fn: str, a: Affine, divisor: int) -> Affine | None:
        """Division of a form with known range: exact parts leave it, the rest is unsigned."""
        if range_of(a, self.ranges, self.width) is None:
            return None
        quotient, rest = split_by(a, divisor)
        reach = range_of(rest, self.ranges, self.width)
        if reach is None or reach[0] < 0:
            return None
        if reach[1] < divisor:
            return quotient if fn == "floordiv" else rest
        value = materialize(self.function, rest, self.width)
        result = self._small_division(fn, value, divisor, reach[1])
        form = self._named(result)
        if result.width == 1 and not result.literal:
            high = reach[1] // divisor if fn == "floordiv" else divisor - 1
            self.ranges[result.text] = (0, high)
        return added(quotient, form) if fn == "floordiv" else form

    def _small_division(self, fn: str, value: Value, divisor: int, high: int) -> Value:
        """Unsigned division; in 32 bits where it fits: vectors have no 64-bit multiply-high."""
        name, width = ("udiv" if fn == "floordiv" else "urem"), value.width
        if high >= 1 << 31 or divisor >= 1 << 31 or width == 1:
            by = splat(self.function, index_value(str(divisor)), width)
            return Value(self.function.pure(f"{name} {value.typed}, {by.text}"), int64, width)
        kind = vector("i32", width)
        short = self.function.pure(f"trunc {value.typed} to {kind}")
        result = self.function.pure(f"{name} {kind} {short}, splat (i32 {divisor})")
        return Value(self.function.pure(f"zext {kind} {result} to {value.kind}"), int64, width)

    def address(self, place: Storage, indices: tuple[Expr, ...]) -> Affine:
        """The element offset of `indices`, in elements of one lane's copy."""
        total = Affine()
        for index, stride in zip(indices, place.strides, strict=True):
            form = self.affine(index)
            if form.vector and (stride != 1 or total.vector):
                form = self._scaled_vector(form, stride)
                if total.vector:
                    form = self._sum_vectors(total, form)
                    total = replace(total, vector="")
            else:
                form = scaled(form, stride) if stride != 1 else form
            total = added(total, form)
        return total

    def _scaled_vector(self, form: Affine, stride: int) -> Affine:
        kind = f"<{self.width} x i64>"
        name = self.function.pure(f"mul {kind} {form.vector}, splat (i64 {stride})")
        return replace(scaled(replace(form, vector=""), stride), vector=name)

    def _sum_vectors(self, a: Affine, b: Affine) -> Affine:
        name = self.function.pure(f"add <{self.width} x i64> {a.vector}, {b.vector}")
        return replace(b, vector=name)

    def pointer(self, place: Storage, form: Affine) -> str:
        """The address of the first lane; the constant comes last, to be a displacement."""
        kind, pointer = storage(place.dtype), place.pointer
        offset = scalar_part(self.function, form, with_const=False)
        if place.lanes > 1 and offset != "0":
            offset = self.function.pure(f"mul i64 {offset}, {place.lanes}")
        if offset != "0":
            pointer = self.function.pure(f"getelementptr {kind}, ptr {pointer}, i64 {offset}")
        const = form.const * place.lanes
        if const:
            pointer = self.function.pure(f"getelementptr {kind}, ptr {pointer}, i64 {const}")
        return pointer

    def load(self, expr: Load) -> Value:
        """One element, or one per lane."""
        place = self.storages[expr.buffer.name]
        return self.load_at(place, self.address(place, expr.indices))

    def load_at(self, place: Storage, form: Affine) -> Value:
        """The element at an address, or the lanes'."""
        if place.lanes > 1:
            return self._load_lanes(place, self.pointer(place, form), place.lanes, "")
        if form.uniform:
            return self._load_lanes(place, self.pointer(place, form), 1, "")
        if not form.vector and 1 < form.lane <= MOST_STEP and not place.padded:
            return self._load_apart(place, form)
        if form.vector or form.lane not in (1, -1):
            return self._gather(place, form)
        if form.lane == 1:
            return self._load_lanes(place, self.pointer(place, form), self.width, self.mask)
        first = replace(form, const=form.const - (self.width - 1))
        mask = self.reversed_lanes("i1", self.mask) if self.mask else ""
        value = self._load_lanes(place, self.pointer(place, first), self.width, mask)
        kind = value.kind.removeprefix(f"<{self.width} x ").removesuffix(">")
        return Value(self.reversed_lanes(kind, value.text), value.dtype, self.width)

    def reversed_lanes(self, kind: str, text: str) -> str:
        """A vector's lanes in the opposite order."""
        order = ", ".join(f"i32 {lane}" for lane in reversed(range(self.width)))
        wide = vector(kind, self.width)
        return self.function.pure(
            f"shufflevector {wide} {text}, {wide} poison, <{self.width} x i32> <{order}>"
        )

    def _read(self, place: Storage, text: str, width: int) -> Value:
        """A load, reused while no store to `place` intervenes; packed floats are unpacked."""
        return from_memory(self.function, self.raw(place, text), place.dtype, width, self.target)

    @staticmethod
    def load_key(place: Storage, text: str) -> str:
        """What makes two loads equal: the text and the memory's version."""
        return f"{text} #{place.version}"

    def load_text(self, place: Storage, pointer: str, width: int) -> str:
        """A plain load of `width` elements."""
        kind = storage(place.dtype)
        align = 64 if place.lanes > 1 and place.padded else place.alignment
        align = min(align, place.dtype.itemsize * width)
        return f"load {vector(kind, width)}, ptr {pointer}, align {align}"

    def _load_apart(self, place: Storage, form: Affine) -> Value:
        """Lanes a few elements apart: whole vectors, and their elements picked out."""
        width, step = self.width, form.lane
        kind = vector(storage(place.dtype), width)
        if not self.mask and _is_of_rows(place, form):
            return self._load_of_rows(place, form)
        chunks = []
        for chunk in range(chunks_touched(width, step)):
            mask = read_mask(self.function, self.mask, width, step, chunk)
            if mask and "true" not in mask and mask.startswith("<"):
                chunks.append("poison")
                continue
            at = replace(form, const=form.const + chunk * width)
            chunks.append(self.raw(place, self.lanes_text(place, self.pointer(place, at), mask)))
        picked = gather_chunks(self.function, kind, chunks, step)
        return from_memory(self.function, picked, place.dtype, width, self.target)

    def _load_of_rows(self, place: Storage, form: Affine) -> Value:
        """The same element of as many rows as there are lanes, out of whole rows: what reads
        another element of them shares the loads.
        """
        width, step = self.width, form.lane
        kind, element = vector(storage(place.dtype), width), form.const % step
        chunks = []
        for chunk in range(step):
            at = replace(form, const=form.const - element + chunk * width)
            chunks.append(self.raw(place, self.lanes_text(place, self.pointer(place, at), "")))
        picked = gather_chunks(self.function, kind, chunks, step, element)
        return from_memory(self.function, picked, place.dtype, width, self.target)

    def raw(self, place: Storage, text: str) -> str:
        """A load as it is in memory, reused while no store to `place` intervenes."""
        floor = max(place.pin, self.function.certain_level)
        return self.function.pure(text, floor, self.load_key(place, text))

    def _load_lanes(self, place: Storage, pointer: str, width: int, mask: str) -> Value:
        if not mask or place.padded or width == 1:
            return self._read(place, self.load_text(place, pointer, width), width)
        return self._read(place, self.lanes_text(place, pointer, mask), width)

    def lanes_text(self, place: Storage, pointer: str, mask: str) -> str:
        """A load of one element per lane of the loop, under a mask if there is one."""
        width = self.width
        if not mask:
            return self.load_text(place, pointer, width)
        kind = vector(storage(place.dtype), width)
        name = f"llvm.masked.load.{suffix(kind)}.p0"
        bits = vector("i1", width)
        self.function.module.declare(f"{kind} @{name}(ptr, i32, {bits}, {kind})")
        return (
            f"call {kind} @{name}(ptr {pointer}, i32 {place.alignment}, "
            f"{bits} {mask}, {kind} zeroinitializer)"
        )

    def lane_pointers(self, place: Storage, form: Affine) -> str:
        """A vector of addresses, one per lane."""
        width, kind = self.width, storage(place.dtype)
        base = self.pointer(place, replace(form, lane=0, vector=""))
        lanes = form.vector
        if form.lane:
            steps = iota(width, form.lane)
            lanes = self.function.pure(f"add <{width} x i64> {lanes}, {steps}") if lanes else steps
        return self.function.pure(f"getelementptr {kind}, ptr {base}, <{width} x i64> {lanes}")

    def _gather(self, place: Storage, form: Affine) -> Value:
        known = self.turned.get((place.pointer, place.dtype, place.version, form))
        if known is not None:
            return from_memory(self.function, known, place.dtype, self.width, self.target)
        return self._gather_at(place, self.lane_pointers(place, form))

    def _gather_at(self, place: Storage, pointers: str) -> Value:
        width = self.width
        kind, bits = vector(storage(place.dtype), width), vector("i1", width)
        name = f"llvm.masked.gather.{suffix(kind)}.v{width}p0"
        self.function.module.declare(f"{kind} @{name}(<{width} x ptr>, i32, {bits}, {kind})")
        text = (
            f"call {kind} @{name}(<{width} x ptr> {pointers}, i32 {place.alignment}, "
            f"{bits} {self.mask or 'splat (i1 true)'}, {kind} zeroinitializer)"
        )
        return self._read(place, text, width)

    def fail(self, message: str, **operands: object) -> LoweringError:
        """An error that names the function being written."""
        return LoweringError(f"llvm {self.function.name}", message, operands=operands)
