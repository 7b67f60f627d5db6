"""Statements of the loop IR as LLVM: loops, SIMD loops, parallel loops, stores, scratch memory.

Enters: a kernel. Leaves: a function `void symbol(ptr p0, ..., [ptr scratch])` in a `Module`. The
body of an outermost parallel loop becomes a function `void (ptr context, i64 begin, i64 end, i64
thread)` that the thread pool runs on ranges of iterations. Scheduling decisions are not made here:
what is a vector, unrolled or parallel is in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pellucid.codegen.llvm_cast import to_memory
from pellucid.codegen.llvm_emitter import Function, Module
from pellucid.codegen.llvm_expr import Expressions, Storage
from pellucid.codegen.llvm_index import Affine, added, range_of, scalar_part
from pellucid.codegen.llvm_ops import apply, reduce_lanes
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
from pellucid.codegen.llvm_vectorize import (
    can_vectorize,
    loop_lanes,
    reduction,
    stored_names,
    uses,
)
from pellucid.core.dtype import DType, Scalar, bool_, int32
from pellucid.core.shape import Shape, size_of
from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, Buffer, Call, Expr, For, If, Kernel, Load, Stmt, Store

_ALIGN = 64
_UNROLLED_VECTORS = 4
# Accumulators must lie at constant offsets to become registers, so loops over them unroll further.
_UNROLLED_LOCAL_VECTORS = 16
_STACK_BYTES = 65536


def row_major_strides(shape: Shape) -> tuple[int, ...]:
    """Elements between neighbours along each axis."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(1, size)
    return tuple(reversed(strides))


def _padded_rows(shape: Shape, lanes: int) -> Shape:
    """`shape` with its last axis rounded up to whole vectors.

    Then the masked vector at the end of a row reaches into no other row, and accumulators whose
    rows are not whole vectors become registers too.
    """
    if len(shape) < 2 or not shape[-1]:
        return shape
    step = min(lanes, 1 << (shape[-1] - 1).bit_length())
    return (*shape[:-1], -(-shape[-1] // step) * step)


def on_stack(buffer: Buffer) -> bool:
    """True for `local` buffers small enough for the stack; larger ones use scratch memory like `temp` ones."""
    return buffer.scope == "local" and buffer.nbytes <= _STACK_BYTES


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to whole cache lines."""
    return -(-nbytes // _ALIGN) * _ALIGN


def kernel_scratch_bytes(kernel: Kernel) -> tuple[int, int]:
    """Bytes of scratch memory a kernel needs: `(shared, per thread)`.

    The caller passes one block of `shared + threads * per_thread` bytes, aligned to 64, as the
    kernel's last argument (absent when both are 0), where `threads` counts the pool's workers and
    the caller. Temporaries inside a parallel loop are per thread, the others shared. Blocks of two
    calls that may run at once must not overlap.
    """
    return _scratch_bytes(kernel.body, False)


def _scratch_bytes(body: tuple[Stmt, ...], parallel: bool) -> tuple[int, int]:
    shared = private = 0
    for stmt in body:
        inner = parallel or (isinstance(stmt, For) and stmt.kind == "parallel")
        parts = [stmt.then, stmt.orelse] if isinstance(stmt, If) else []
        parts += [stmt.body] if isinstance(stmt, For | Alloc) else []
        own = 0
        if isinstance(stmt, Alloc) and not on_stack(stmt.buffer):
            own = aligned(stmt.buffer.nbytes)
        for part in parts:
            a, b = _scratch_bytes(part, inner)
            shared = max(shared, a + (0 if parallel else own))
            private = max(private, b + (own if parallel else 0))
    return shared, private


def _identity(fn: str, dtype: DType) -> Scalar:
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
class Writer(Expressions):
    """Writes statements; see `Expressions` for the bindings it carries."""

    parallel: bool = False
    scratch: str = ""
    scratch_base: str = ""
    scratch_top: int = 0
    scratch_bytes: tuple[int, int] = (0, 0)
    attributes: str = ""
    accumulators: dict[Store, Storage] = field(default_factory=dict)

    def write(self, body: tuple[Stmt, ...]) -> None:
        """All statements in order."""
        for stmt in body:
            match stmt:
                case Store():
                    self._store(stmt)
                case For():
                    self._loop(stmt)
                case If():
                    self._if(stmt)
                case Alloc():
                    self._alloc(stmt)

    # --- loops -----------------------------------------------------------------------------------

    def _loop(self, loop: For) -> None:
        extent = self.affine(loop.extent)
        if extent.known and extent.const <= 0:
            return
        if loop.kind == "vector" and self.width == 1 and can_vectorize(loop):
            self._vector_loop(loop, extent)
        elif loop.kind == "parallel" and not self.parallel and self.width == 1:
            self._parallel_loop(loop, extent)
        elif extent.known and (loop.kind == "unroll" or extent.const == 1):
            for iteration in range(extent.const):
                self._bound(loop.var, Affine(iteration), loop.body)
        else:
            self._serial_loop(loop, extent)

    def _bound(self, var: str, form: Affine, body: tuple[Stmt, ...]) -> None:
        shadowed = self.variables.get(var)
        self.variables[var] = form
        self.write(body)
        if shadowed is None:
            del self.variables[var]
        else:
            self.variables[var] = shadowed

    def _serial_loop(self, loop: For, extent: Affine) -> None:
        self._counted(extent, loop.body, lambda i: self._bound(loop.var, _name(i), loop.body))

    def _counted(
        self,
        extent: Affine,
        body: tuple[Stmt, ...],
        build: Callable[[str], None],
        begin: str = "0",
        step: int = 1,
    ) -> None:
        """A loop around `build`, with the memory that `body` writes marked as changing in it."""
        reach = range_of(extent, self.ranges, self.width)
        sure = begin == "0" and reach is not None and reach[0] > 0
        end = scalar_part(self.function, extent)
        changed = [self.storages[n] for n in stored_names(body) if n in self.storages]
        changed += list(self.accumulators.values())
        pins = [place.pin for place in changed]
        with self.function.loop(end, begin=begin, step=str(step), sure=sure) as counter:
            if reach is not None:
                self.ranges[counter] = (0, max(0, reach[1] - step))
            for place in changed:
                place.version += 1
                place.pin = self.function.level
            build(counter)
        for place, pin in zip(changed, pins, strict=True):
            place.version += 1
            place.pin = pin

    # --- SIMD loops ------------------------------------------------------------------------------

    def _vector_loop(self, loop: For, extent: Affine) -> None:
        reach = range_of(extent, self.ranges, 1)
        most = None if reach is None else reach[1]
        lanes = loop_lanes(loop, self.target)
        if most is not None:
            lanes = min(lanes, 1 << max(0, most - 1).bit_length())
        if lanes == 1:
            self._serial_loop(loop, extent)
            return
        sums = _lane_reductions(loop)
        for store, fn in sums.items():
            self._open_accumulator(store, fn, lanes)
        if extent.known:
            self._static_chunks(loop, extent.const, lanes, bool(sums))
        else:
            self._dynamic_chunks(loop, extent, lanes)
        for store, fn in sums.items():
            self._close_accumulator(store, fn)

    def _static_chunks(self, loop: For, extent: int, lanes: int, whole: bool) -> None:
        """Full vectors, then the rest as one masked vector (`whole`: not a narrower one)."""
        full, rest = divmod(extent, lanes)
        limit = _UNROLLED_LOCAL_VECTORS if self._touches_stack(loop) else _UNROLLED_VECTORS
        if full <= limit:
            for chunk in range(full):
                self._chunk(loop, Affine(chunk * lanes), lanes, "")
        else:
            self._chunk_loop(loop, Affine(full * lanes), lanes)
        if rest:
            width = lanes if whole else 1 << (rest - 1).bit_length()
            bits = ", ".join(f"i1 {'true' if i < rest else 'false'}" for i in range(width))
            mask = "" if rest == width else f"<{bits}>"
            self._chunk(loop, Affine(full * lanes), width, mask)

    def _dynamic_chunks(self, loop: For, extent: Affine, lanes: int) -> None:
        function = self.function
        end = scalar_part(function, extent)
        full = function.pure(f"and i64 {end}, {-lanes}")
        reach = range_of(extent, self.ranges, 1)
        if reach is not None:
            self.ranges[full] = (0, max(0, reach[1]))
        self._chunk_loop(loop, _name(full), lanes)
        rest = function.pure(f"sub i64 {end}, {full}")
        some = function.pure(f"icmp sgt i64 {rest}, 0")
        short = function.pure(f"trunc i64 {rest} to i32")
        shared = splat(function, Value(short, int32), lanes)
        steps = ", ".join(f"i32 {i}" for i in range(lanes))
        mask = function.pure(f"icmp sgt {shared.typed}, <{steps}>")
        function.branch(some, lambda: self._chunk(loop, _name(full), lanes, mask))

    def _chunk_loop(self, loop: For, end: Affine, lanes: int) -> None:
        self._counted(end, loop.body, lambda i: self._chunk(loop, _name(i), lanes, ""), step=lanes)

    def _chunk(self, loop: For, base: Affine, width: int, mask: str) -> None:
        """The loop's body for lanes `base`, `base + 1`, ..."""
        if width == 1:
            self._bound(loop.var, base, loop.body)
            return
        self.width, self.mask = width, mask
        self._bound(loop.var, added(base, Affine(lane=1)), loop.body)
        self.width, self.mask = 1, ""

    def _touches_stack(self, loop: For) -> bool:
        names = {s.buffer.name for s in loop.body if isinstance(s, Store)}
        return any(self.storages[n].padded for n in names if n in self.storages)

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
        """`fn(old, rest)`; a float sum of products may fuse the product into the sum."""
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
        if place.lanes > 1 and self.mask:
            value = self._blend(value, self._load_lanes(place, pointer, place.lanes, ""))
        self._write_plain(place, pointer, value)

    def _store_lanes(self, place: Storage, form: Affine, value: Value, mask: str) -> None:
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
        self.function.effect(f"store {kind} {memory}, ptr {pointer}, align {align}")
        place.version += 1
        self.function.remember(self.load_key(place, load), memory)

    def _write_masked(self, place: Storage, pointer: str, value: Value, mask: str) -> None:
        memory = to_memory(self.function, value, self.target)
        kind, bits = vector(storage(place.dtype), value.width), vector("i1", value.width)
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

    # --- conditions and memory -------------------------------------------------------------------

    def _if(self, stmt: If) -> None:
        cond = self.value(stmt.cond)
        if cond.width > 1:
            self._predicated(cond, stmt)
        elif cond.literal:
            self.write(stmt.then if cond.text == "true" else stmt.orelse)
        else:
            orelse = (lambda: self.write(stmt.orelse)) if stmt.orelse else None
            self.function.branch(cond.text, lambda: self.write(stmt.then), orelse)

    def _predicated(self, cond: Value, stmt: If) -> None:
        """Both sides under a mask, each skipped when no lane takes it."""
        function, outer = self.function, self.mask
        kind = vector("i1", self.width)
        flipped = function.pure(f"xor {kind} {cond.text}, splat (i1 true)")
        for bits, body in ((cond.text, stmt.then), (flipped, stmt.orelse)):
            if not body:
                continue
            mask = function.pure(f"and {kind} {outer}, {bits}") if outer else bits
            name = f"llvm.vector.reduce.or.v{self.width}i1"
            some = function.intrinsic("i1", name, (kind, mask))
            self.mask = mask
            function.branch(some, lambda body=body: self.write(body))  # type: ignore[misc]  # runs before the loop goes on
            self.mask = outer

    def _alloc(self, stmt: Alloc) -> None:
        buffer = stmt.buffer
        shadowed, top = self.storages.get(buffer.name), self.scratch_top
        strides = row_major_strides(buffer.shape)
        if on_stack(buffer) or self.width > 1:
            lanes = self.target.lanes(buffer.dtype)
            shape = _padded_rows(buffer.shape, lanes) if self.width == 1 else buffer.shape
            strides = row_major_strides(shape)
            count = size_of(shape) * self.width + lanes
            pointer = self.function.alloca(f"[{count} x {storage(buffer.dtype)}]", _ALIGN)
            row = 0
            if self.width == 1 and shape:
                row = shape[-1] if len(shape) > 1 else shape[0] + lanes
            place = Storage(pointer, buffer.dtype, strides, self.width, padded=True, row=row)
        else:
            base = self.scratch_base
            pointer = self.function.pure(f"getelementptr i8, ptr {base}, i64 {top}")
            place = Storage(pointer, buffer.dtype, strides)
            self.scratch_top += aligned(buffer.nbytes)
        # What the memory holds before this point means nothing: no load may leave the loop around.
        place.pin = self.function.level
        self.storages[buffer.name] = place
        self.write(stmt.body)
        self.scratch_top = top
        if shadowed is None:
            del self.storages[buffer.name]
        else:
            self.storages[buffer.name] = shadowed

    # --- parallel loops --------------------------------------------------------------------------

    def _thread_scratch(self, thread: str) -> str:
        """Where the temporaries of one thread lie, after the shared ones."""
        shared, private = self.scratch_bytes
        if not private:
            return self.scratch
        offset = self.function.pure(f"mul i64 {thread}, {private}")
        offset = self.function.pure(f"add i64 {offset}, {shared}")
        return self.function.pure(f"getelementptr i8, ptr {self.scratch}, i64 {offset}")

    def _parallel_loop(self, loop: For, extent: Affine) -> None:
        if extent.known and extent.const == 1:
            base, top = self.scratch_base, self.scratch_top
            self.parallel, self.scratch_top = True, 0
            self.scratch_base = self._thread_scratch("0")
            self._bound(loop.var, Affine(0), loop.body)
            self.parallel, self.scratch_base, self.scratch_top = False, base, top
            return
        count = scalar_part(self.function, extent)
        names = sorted({n for form in self.variables.values() for n, _ in form.terms})
        pointers = [place.pointer for place in self.storages.values()]
        pointers += [self.scratch] if self.scratch else []
        symbol = f"{self.function.name}.{self.function.module.fresh('loop')}"
        self._outline(loop, extent, symbol, names)
        context = self.function.alloca(f"[{max(1, len(pointers) + len(names))} x i64]", _ALIGN)
        for slot, (kind, name) in enumerate(
            [("ptr", p) for p in pointers] + [("i64", n) for n in names]
        ):
            place = self.function.pure(f"getelementptr i64, ptr {context}, i64 {slot}")
            self.function.effect(f"store {kind} {name}, ptr {place}")
        self.function.module.declare("void @pellucid_parallel_for(ptr, ptr, i64)")
        self.function.effect(
            f"call void @pellucid_parallel_for(ptr @{symbol}, ptr {context}, i64 {count})"
        )
        for name in stored_names(loop.body):
            if name in self.storages:
                self.storages[name].version += 1

    def _outline(self, loop: For, extent: Affine, symbol: str, names: list[str]) -> None:
        """The loop's body as a function of its own, and the pool's entry to it."""
        places = list(self.storages.items())
        params = [f"ptr noalias %p{i}" for i in range(len(places))]
        params += ["ptr noalias %scratch"] if self.scratch else []
        params += [f"i64 %c{i}" for i in range(len(names))]
        module = self.function.module
        tail = "i64 %begin, i64 %end, i64 %thread"
        inner = Function(module, f"{symbol}.body", ", ".join([*params, tail]), self.attributes)
        captured = {name: f"%c{i}" for i, name in enumerate(names)}
        child = Writer(inner, self.target, parallel=True, attributes=self.attributes)
        child.storages = {
            name: replace(place, pointer=f"%p{i}", pin=0) for i, (name, place) in enumerate(places)
        }
        child.variables = {
            var: replace(form, terms=tuple((captured[n], c) for n, c in form.terms))
            for var, form in self.variables.items()
        }
        child.ranges = {captured[n]: self.ranges[n] for n in names if n in self.ranges}
        child.scratch, child.scratch_bytes = self.scratch and "%scratch", self.scratch_bytes
        child.scratch_base = child._thread_scratch("%thread")
        reach = range_of(extent, self.ranges, 1)
        child._range_loop(loop, None if reach is None else reach[1])
        inner.finish(linkage="internal")
        _define_entry(module, symbol, [p.split()[0] for p in params], self.attributes)

    def _range_loop(self, loop: For, most: int | None) -> None:
        """The iterations `%begin` to `%end`, at least one."""
        if most is not None:
            self.ranges["%end"] = (1, max(1, most))
        body = loop.body
        self._counted(
            _name("%end"), body, lambda i: self._bound(loop.var, _name(i), body), "%begin"
        )


def _name(text: str) -> Affine:
    return Affine(terms=((text, 1),))


def _lane_reductions(loop: For) -> dict[Store, str]:
    """The loop's own statements that reduce over its lanes: their element is the same for all."""
    sums = {}
    for stmt in loop.body:
        if isinstance(stmt, Store) and not any(uses(i, loop.var) for i in stmt.indices):
            found = reduction(stmt)
            if found is not None:
                sums[stmt] = found[0]
    return sums


def _define_entry(module: Module, symbol: str, kinds: list[str], attributes: str) -> None:
    """The function the pool calls: unpacks the context and calls the body."""
    entry = Function(module, symbol, "ptr %context, i64 %begin, i64 %end, i64 %thread", attributes)
    args = []
    for slot, kind in enumerate(kinds):
        place = entry.pure(f"getelementptr i64, ptr %context, i64 {slot}")
        args.append(f"{kind} {entry.emit(f'load {kind}, ptr {place}')}")
    args += ["i64 %begin", "i64 %end", "i64 %thread"]
    entry.effect(f"call void @{symbol}.body({', '.join(args)})")
    entry.finish(linkage="internal")


def write_kernel(module: Module, kernel: Kernel, target: Target, symbol: str) -> None:
    """Adds `void symbol(ptr p0, ..., [ptr scratch])` to `module`.

    Pointers need the alignment of one element. Memory of different params must not overlap, save
    where an output is written at exactly the place an input was read from before.

    Raises:
        LoweringError: the kernel calls a function this target has no code for.
    """
    attributes = (
        f'nounwind "prefer-vector-width"="{target.vector_bits}" '
        f'"min-legal-vector-width"="{target.vector_bits}"'
    )
    scratch_bytes = kernel_scratch_bytes(kernel)
    params = [f"ptr noalias %p{i}" for i in range(len(kernel.params))]
    scratch = "%scratch" if any(scratch_bytes) else ""
    params += ["ptr noalias %scratch"] if scratch else []
    function = Function(module, symbol, ", ".join(params), attributes)
    writer = Writer(function, target, attributes=attributes)
    writer.storages = {
        b.name: Storage(f"%p{i}", b.dtype, row_major_strides(b.shape))
        for i, b in enumerate(kernel.params)
    }
    writer.scratch = writer.scratch_base = scratch
    writer.scratch_bytes = scratch_bytes
    writer.write(kernel.body)
    function.finish()
