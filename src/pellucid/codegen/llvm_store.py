"""Stores: elements, vectors, masked and scattered lanes, reductions over lanes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pellucid.codegen.llvm_cast import to_memory
from pellucid.codegen.llvm_dot import DOTS, add_dot
from pellucid.codegen.llvm_expr import Expressions, Storage
from pellucid.codegen.llvm_index import Affine
from pellucid.codegen.llvm_ops import apply, reduce_lanes
from pellucid.codegen.llvm_pair import in_turn
from pellucid.codegen.llvm_stride import (
    MOST_STEP,
    chunks_touched,
    scatter_chunk,
    write_mask,
)
from pellucid.codegen.llvm_turn import turned
from pellucid.codegen.llvm_turn_store import HeldStores
from pellucid.codegen.llvm_types import (
    Value,
    constant,
    is_narrow,
    register,
    splat,
    storage,
    suffix,
    vector,
)
from pellucid.codegen.llvm_vectorize import reduction
from pellucid.core.dtype import DType, Real, bool_
from pellucid.loop.ir import Call, Expr, Load, Store

_ALIGN = 64


def _identity(fn: str, dtype: DType) -> Real:
    """The value that leaves the other argument of a reduction as it is."""
    if fn == "add":
        return -0.0 if dtype.is_float else 0  # -0 + -0 is -0, but 0 + -0 is not
    if fn in ("xor", "or", "mul"):
        return int(fn == "mul")
    if fn == "and":
        return True if dtype == bool_ else -1
    if dtype == bool_:
        return fn == "min"
    if dtype.is_float:
        return float("inf") if fn == "min" else float("-inf")
    low = -(1 << (dtype.bits - 1)) if dtype.kind == "int" else 0
    high = (1 << (dtype.bits - (dtype.kind == "int"))) - 1
    return high if fn == "min" else low


@dataclass(slots=True)
class Stores(Expressions):
    """Writes stores; `accumulators` are the sums over lanes of the vector loop being written."""

    accumulators: dict[Store, Storage] = field(default_factory=dict)
    far: frozenset[str] = frozenset()  # outputs that the last cache cannot hold
    streamed: frozenset[str] = frozenset()  # pointers that are now stored to past the caches
    late: bool = False  # whether such stores have been written since the last fence
    held: HeldStores | None = None  # stores that wait for a whole block
    pairs: frozenset[Store] = frozenset()  # stores that are written two by two
    waiting: dict[str, tuple[Affine, Value]] = field(default_factory=dict)  # the first of each two
    loop_mask: str = ""  # the lanes within the loop's extent; `mask` may leave out more

    # --- reductions over lanes -------------------------------------------------------------------

    def _open_accumulator(self, store: Store, fn: str, lanes: int) -> None:
        dtype = store.buffer.dtype
        kind = vector(storage(dtype), lanes)
        place = Storage(self.function.alloca(kind, _ALIGN), dtype, (), lanes, padded=True)
        place.pin = self.function.level
        start = splat(self.function, constant(_identity(fn, dtype), dtype), lanes)
        self._write_plain(place, place.pointer, start)
        self.accumulators[store] = place

    def _accumulate(self, store: Store, place: Storage) -> None:
        fn, rest = reduction(store) or ("", store.value)
        old = self._load_lanes(place, place.pointer, place.lanes, "")
        total = splat(self.function, self._combined(fn, old, rest, store.buffer.dtype), place.lanes)
        self._write_plain(place, place.pointer, self._blend(total, old))

    def _join_accumulators(self, place: Storage, other: Storage, fn: str) -> None:
        """Add a second accumulator of the same reduction to the first."""
        both = [self._load_lanes(p, p.pointer, p.lanes, "") for p in (place, other)]
        self._write_plain(place, place.pointer, apply(self.ops, fn, both, place.dtype))

    def _close_accumulator(self, store: Store, fn: str) -> None:
        place = self.accumulators.pop(store)
        lanes = self._load_lanes(place, place.pointer, place.lanes, "")
        self._combine_into(store, fn, reduce_lanes(self.ops, fn, lanes))

    def _combine_into(self, store: Store, fn: str, value: Value) -> None:
        """`element = fn(element, value)` for a scalar `value`."""
        place = self.storages[store.buffer.name]
        pointer = self.pointer(place, self.address(place, store.indices))
        old = self._load_lanes(place, pointer, 1, "")
        self._write_plain(place, pointer, apply(self.ops, fn, [old, value], place.dtype))

    def _combined(self, fn: str, old: Value, rest: Expr, dtype: DType) -> Value:
        """`fn(old, rest)`; a float sum of products may fuse the product into the sum, and a dot
        product adds to its sum.
        """
        if fn == "add" and isinstance(rest, Call) and rest.fn in DOTS:
            return add_dot(self.ops, rest.fn, old, *(self.value(x) for x in rest.args))
        if fn == "add" and dtype.is_float and not is_narrow(dtype) and isinstance(rest, Call):
            if rest.fn == "mul":
                a, b = (splat(self.function, self.value(x), old.width) for x in rest.args)
                width = max(a.width, b.width)
                args = [splat(self.function, v, width) for v in (a, b, old)]
                return self.ops.multiply_add(args[0], args[1], args[2])
        return apply(self.ops, fn, [old, self.value(rest)], dtype)

    # --- stores ----------------------------------------------------------------------------------

    def _store(self, store: Store) -> None:
        if store in self.accumulators and self.width > 1:
            self._accumulate(store, self.accumulators[store])
            return
        place = self.storages[store.buffer.name]
        form = self.address(place, store.indices)
        if self.width > 1 and form.uniform and place.lanes == 1:
            found = reduction(store)
            rest = self.value(found[1]) if found else None
            if found and rest is not None and rest.width > 1:
                neutral = constant(_identity(found[0], place.dtype), place.dtype)
                rest = self._blend(rest, splat(self.function, neutral, rest.width))
                self._combine_into(store, found[0], reduce_lanes(self.ops, found[0], rest))
                return
        value = self._stored_value(store, place)
        if form.uniform:
            self._store_uniform(place, form, value)
        elif self.held is not None and store in self.held.stores:
            lanes = to_memory(self.function, splat(self.function, value, self.width), self.target)
            self.held.rows.setdefault(store, []).append((form, lanes))
        elif store in self.pairs and not self.mask:
            self._store_pair(place, form, splat(self.function, value, self.width))
        else:
            mask = "" if self._ends_row(store, place) else self.mask
            self._store_lanes(place, form, splat(self.function, value, self.width), mask)

    def _ends_row(self, store: Store, place: Storage) -> bool:
        """True when the inactive lanes fall into the padding of a row of our own memory."""
        if not (place.row and self.mask.startswith("<")):
            return False
        last = self.affine(store.indices[-1])
        if last.lane != 1 or last.terms or last.vector:
            return False
        active = self.mask.count("true")
        return last.const + active >= store.buffer.shape[-1] and (
            last.const + self.width <= place.row
        )

    def _stored_value(self, store: Store, place: Storage) -> Value:
        found = reduction(store)
        if found is None:
            return self.value(store.value)
        old = self.value(Load(store.buffer, store.indices))
        return self._combined(found[0], old, found[1], place.dtype)

    def _store_uniform(self, place: Storage, form: Affine, value: Value) -> None:
        pointer = self.pointer(place, form)
        value = splat(self.function, value, place.lanes)
        if place.lanes > 1 and self.mask != self.loop_mask:
            value = self._blend(value, self._load_lanes(place, pointer, place.lanes, ""))
        self._write_plain(place, pointer, value)

    def _store_lanes(self, place: Storage, form: Affine, value: Value, mask: str) -> None:
        if not form.vector and 1 < form.lane <= MOST_STEP and self._masks_are_cheap(place):
            self._store_apart(place, form, value, mask)
            return
        if form.vector or form.lane not in (1, -1):
            self._scatter(place, form, value)
            return
        if form.lane == -1:
            form = replace(form, const=form.const - (self.width - 1))
            element = register(value.dtype)
            text = self.reversed_lanes(element, value.text)
            value = Value(text, value.dtype, value.width)
            mask = self.reversed_lanes("i1", mask) if mask else ""
        pointer = self.pointer(place, form)
        if mask and place.padded:
            old = self._load_lanes(place, pointer, self.width, "")
            value, mask = self.ops.select(Value(mask, bool_, self.width), value, old), ""
        if mask:
            self._write_masked(place, pointer, value, mask)
        else:
            self._write_plain(place, pointer, value)

    def _masks_are_cheap(self, place: Storage) -> bool:
        """Whether single elements of a vector are written as fast as all of them."""
        return self.target.vector_bits >= 512 and place.dtype.bits >= 8

    def _store_apart(self, place: Storage, form: Affine, value: Value, mask: str) -> None:
        """Lanes a few elements apart: spread out over whole vectors, written under masks."""
        memory, width, step = to_memory(self.function, value, self.target), self.width, form.lane
        kind = vector(storage(place.dtype), width)
        for chunk in range(chunks_touched(width, step)):
            bits = write_mask(self.function, mask, width, step, chunk)
            spread = scatter_chunk(self.function, kind, memory, step, chunk)
            at = self.pointer(place, replace(form, const=form.const + chunk * width))
            self._write_raw(place, at, spread, bits)

    def _store_pair(self, place: Storage, form: Affine, value: Value) -> None:
        """Lanes two apart and those between them, the second of which comes later."""
        name, width = place.pointer, self.width
        if name not in self.waiting:
            self.waiting[name] = form, value
            return
        before, first = self.waiting.pop(name)
        if before.vector or before.lane != 2 or form != replace(before, const=before.const + 1):
            self._store_lanes(place, before, first, "")
            self._store_lanes(place, form, value, "")
            return
        kind = vector(storage(place.dtype), width)
        both = [to_memory(self.function, v, self.target) for v in (first, value)]
        for k, half in enumerate(in_turn(self.function, kind, width, both[0], both[1])):
            at = replace(before, lane=1, const=before.const + k * width)
            self._write_row(place, self.pointer(place, at), half, "")
        place.version += 1

    def _release(self, held: HeldStores) -> None:
        """Every block that has been held back, turned round and stored by rows."""
        width = self.width
        bits = ", ".join(f"i1 {'true' if k < held.count else 'false'}" for k in range(width))
        mask = f"<{bits}>" if held.count < width else ""
        for store, made in held.rows.items():
            place, (form, _) = self.storages[store.buffer.name], made[0]
            kind = vector(storage(place.dtype), width)
            rows = [lanes for _, lanes in made] + ["poison"] * (width - len(made))
            columns = turned(self.function, kind, rows, place.dtype.itemsize)
            for lane, column in enumerate(columns):
                at = replace(form, lane=0, const=form.const + lane * form.lane)
                self._write_row(place, self.pointer(place, at), column, mask)
            place.version += 1

    def _write_row(self, place: Storage, pointer: str, row: str, mask: str) -> None:
        if mask:
            self._write_raw(place, pointer, row, mask)
            return
        kind, align = vector(storage(place.dtype), self.width), place.dtype.itemsize
        self.function.effect(f"store {kind} {row}, ptr {pointer}, align {align}")

    def _blend(self, value: Value, other: Value) -> Value:
        """`value` in the active lanes, `other` elsewhere."""
        if not self.mask:
            return value
        return self.ops.select(Value(self.mask, bool_, self.width), value, other)

    def _write_plain(self, place: Storage, pointer: str, value: Value) -> None:
        """A store; the element's next load is the value just stored."""
        memory = to_memory(self.function, value, self.target)
        kind = vector(storage(place.dtype), value.width)
        load = self.load_text(place, pointer, value.width)
        align = load.rpartition(" ")[2]
        if place.pointer in self.streamed and value.width > 1:
            past = self.function.module.metadata("!{i32 1}")
            align = f"{self.target.vector_bits // 8}, !nontemporal {past}"
        self.function.effect(f"store {kind} {memory}, ptr {pointer}, align {align}")
        place.version += 1
        self.function.remember(self.load_key(place, load), memory)

    def _write_masked(self, place: Storage, pointer: str, value: Value, mask: str) -> None:
        self._write_raw(place, pointer, to_memory(self.function, value, self.target), mask)

    def _write_raw(self, place: Storage, pointer: str, memory: str, mask: str) -> None:
        """Lanes as they are in memory, stored under a mask."""
        kind, bits = vector(storage(place.dtype), self.width), vector("i1", self.width)
        name = f"llvm.masked.store.{suffix(kind)}.p0"
        self.function.module.declare(f"void @{name}({kind}, ptr, i32, {bits})")
        self.function.effect(
            f"call void @{name}({kind} {memory}, ptr {pointer}, i32 {place.dtype.itemsize}, "
            f"{bits} {mask})"
        )
        place.version += 1

    def _scatter(self, place: Storage, form: Affine, value: Value) -> None:
        memory = to_memory(self.function, value, self.target)
        width = self.width
        kind, bits = vector(storage(place.dtype), width), vector("i1", width)
        name = f"llvm.masked.scatter.{suffix(kind)}.v{width}p0"
        pointers = self.lane_pointers(place, form)
        self.function.module.declare(f"void @{name}({kind}, <{width} x ptr>, i32, {bits})")
        self.function.effect(
            f"call void @{name}({kind} {memory}, <{width} x ptr> {pointers}, "
            f"i32 {place.dtype.itemsize}, {bits} {self.mask or 'splat (i1 true)'})"
        )
        place.version += 1
