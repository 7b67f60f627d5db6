"""Statements of the loop IR as LLVM: loops, SIMD loops, parallel loops, stores, scratch memory.

Enters: a kernel. Leaves: a function `void symbol(ptr p0, ..., [ptr scratch])` in a `Module`. The
body of an outermost parallel loop becomes a function `void (ptr context, i64 begin, i64 end, i64
thread)` that the thread pool runs on ranges of iterations. Scheduling decisions are not made here:
what is a vector, unrolled or parallel is in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pellucid.codegen.llvm_emitter import Function, Module
from pellucid.codegen.llvm_expr import Storage
from pellucid.codegen.llvm_index import Affine, added, range_of, scalar_part
from pellucid.codegen.llvm_pair import paired_stores
from pellucid.codegen.llvm_scratch import (
    aligned,
    on_stack,
    padded_rows,
    row_major_strides,
)
from pellucid.codegen.llvm_scratch import (
    kernel_scratch_bytes as kernel_scratch_bytes,
)
from pellucid.codegen.llvm_store import Stores
from pellucid.codegen.llvm_stream import all_aligned, far_outputs, fence, streamed_pointers
from pellucid.codegen.llvm_turn import WIDTHS, block_loads, first_of_block, turned_loads
from pellucid.codegen.llvm_turn_store import HeldStores, outer_stores
from pellucid.codegen.llvm_types import Value, splat, storage, vector
from pellucid.codegen.llvm_vectorize import (
    can_vectorize,
    loop_lanes,
    reduction,
    stored_names,
    uses,
)
from pellucid.core.dtype import int32
from pellucid.core.shape import size_of
from pellucid.core.size import Dim, Size
from pellucid.core.target import Target
from pellucid.loop.ir import (
    Alloc,
    Const,
    For,
    If,
    Kernel,
    Open,
    Prefetch,
    Stmt,
    Store,
    Var,
    as_expr,
    iadd,
)
from pellucid.loop.rewrite import substitute

_ALIGN = 64
_UNROLLED_VECTORS = 4
# Accumulators must lie at constant offsets to become registers, so loops over them unroll further.
_UNROLLED_LOCAL_VECTORS = 16
SUMS_AT_ONCE = 4  # vectors of accumulators of one long reduction
FEWEST_STEPS = 2  # of so many vectors, beside which adding them up is little


@dataclass(slots=True)
class Writer(Stores):
    """Writes statements; see `Expressions` for the bindings it carries."""

    parallel: bool = False
    scratch: str = ""
    scratch_base: str = ""
    scratch_top: int = 0
    scratch_bytes: tuple[int, int] = (0, 0)
    overlapping: frozenset[str] = frozenset()
    attributes: str = ""

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
                case Prefetch():
                    self._prefetch(stmt)

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
            self._unrolled_loop(loop, extent.const)
        else:
            self._serial_loop(loop, extent)

    def _unrolled_loop(self, loop: For, extent: int) -> None:
        if self._stored_across(loop, extent):
            return
        outside = self.turned
        if self.width > 1:
            self.turned = outside | turned_loads(self, loop, extent)
        for iteration in range(extent):
            self._bound(loop.var, Affine(iteration), loop.body)
        self.turned = outside

    def _stored_across(self, loop: For, count: int) -> bool:
        """An unrolled loop around a vector loop that stores across it; whether it was one."""
        inner = loop.body[0] if len(loop.body) == 1 else None
        if not isinstance(inner, For) or inner.kind != "vector" or self.width > 1 or count < 2:
            return False
        lanes = loop_lanes(inner, self.target)
        if lanes not in WIDTHS or not isinstance(inner.extent, Const):
            return False
        full, rest = divmod(int(inner.extent.value), lanes)
        held = HeldStores(loop.var, outer_stores(inner))
        if not 0 < full <= _UNROLLED_LOCAL_VECTORS or not held.stores or not can_vectorize(inner):
            return False
        if not all(self._is_across(inner, lanes, store, loop.var) for store in held.stores):
            return False
        for chunk in range(full):
            for start in range(0, count, lanes):
                block = replace(held, count=min(lanes, count - start), rows={})
                self._block(block, start, inner, Affine(chunk * lanes, lane=1), lanes)
        if rest:
            moved = substitute(inner.body, {inner.var: iadd(Var(inner.var), full * lanes)})
            tail = replace(inner, extent=Const(rest), body=moved)
            for iteration in range(count):
                self._bound(loop.var, Affine(iteration), (tail,))
        return True

    def _is_across(self, inner: For, lanes: int, store: Store, var: str) -> bool:
        self.width, self.variables[inner.var] = lanes, Affine(lane=1)
        first = first_of_block(self, self.storages[store.buffer.name], store, var)
        self.width = 1
        del self.variables[inner.var]
        return first is not None

    def _block(self, held: HeldStores, start: int, inner: For, base: Affine, lanes: int) -> None:
        """Some iterations of an unrolled loop, for `lanes` lanes of the loop inside from `base`."""
        outside = self.turned
        self.width, self.held, self.variables[inner.var] = lanes, held, base
        self.turned = outside | block_loads(self, inner.body, held.var, start, held.count)
        for iteration in range(start, start + held.count):
            self._bound(held.var, Affine(iteration), inner.body)
        self.held, self.turned = None, outside
        self._release(held)
        self.width = 1
        del self.variables[inner.var]

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
        changing: Sequence[Storage] = (),
    ) -> None:
        """A loop around `build`, with the memory that `body` writes marked as changing in it."""
        reach = range_of(extent, self.ranges, self.width)
        sure = begin == "0" and reach is not None and reach[0] > 0
        end = scalar_part(self.function, extent)
        changed = [self.storages[n] for n in stored_names(body) if n in self.storages]
        changed += [*self.accumulators.values(), *changing]
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
            done = self._independent_sums(loop, extent.const, lanes, sums)
            self._static_chunks(loop, extent.const, lanes, bool(sums), done)
        else:
            self._dynamic_chunks(loop, extent, lanes)
        for store, fn in sums.items():
            self._close_accumulator(store, fn)

    def _independent_sums(self, loop: For, extent: int, lanes: int, sums: dict[Store, str]) -> int:
        """Most of a long reduction with several accumulators, which do not wait for each other.

        Returns:
            The iterations that are done.
        """
        step = lanes * SUMS_AT_ONCE
        if not sums or extent < FEWEST_STEPS * step:
            return 0
        first = dict(self.accumulators)
        sets = [first]
        for _ in range(SUMS_AT_ONCE - 1):
            for store, fn in sums.items():
                self._open_accumulator(store, fn, lanes)
            sets.append(dict(self.accumulators))
        places = [own[store] for own in sets for store in sums]

        def build(counter: str) -> None:
            for number, own in enumerate(sets):
                self.accumulators = own
                self._chunk(loop, Affine(number * lanes, ((counter, 1),)), lanes, "")

        done = extent // step * step
        self._counted(Affine(done), loop.body, build, step=step, changing=places)
        for own in sets[1:]:
            self.accumulators = first
            for store, fn in sums.items():
                self._join_accumulators(first[store], own[store], fn)
        return done

    def _static_chunks(
        self, loop: For, extent: int, lanes: int, whole: bool, done: int = 0
    ) -> None:
        """Full vectors after the first `done` iterations, then the rest as one masked vector
        (`whole`: not a narrower one).
        """
        full, rest = divmod(extent, lanes)
        limit = _UNROLLED_LOCAL_VECTORS if self._touches_stack(loop) else _UNROLLED_VECTORS
        if full <= limit or done:
            for chunk in range(done // lanes, full):
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
        reach = range_of(extent, self.ranges, 1)
        if reach is None or reach[0] < 0:
            # Rounding a negative extent down would leave a positive rest.
            end = function.intrinsic("i64", "llvm.smax.i64", ("i64", end), ("i64", "0"))
        full = function.pure(f"and i64 {end}, {-lanes}")
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
        def chunk(counter: str) -> None:
            self._chunk(loop, _name(counter), lanes, "")

        def plain() -> None:
            self._counted(end, loop.body, chunk, step=lanes)

        def streaming() -> None:
            self.streamed = frozenset(far)
            plain()
            self.streamed = frozenset()
            self.late = True

        far = streamed_pointers(self, loop, end, lanes) if self.far else {}
        if far:
            self.function.branch(all_aligned(self, far), streaming, plain)
        else:
            plain()

    def _chunk(self, loop: For, base: Affine, width: int, mask: str) -> None:
        """The loop's body for lanes `base`, `base + 1`, ..."""
        if width == 1:
            self._bound(loop.var, base, loop.body)
            return
        self.width, self.mask, self.loop_mask = width, mask, mask
        self.pairs = paired_stores(loop.body)
        self._bound(loop.var, added(base, Affine(lane=1)), loop.body)
        self.width, self.mask, self.loop_mask, self.pairs = 1, "", "", frozenset()

    def _touches_stack(self, loop: For) -> bool:
        names = {s.buffer.name for s in loop.body if isinstance(s, Store)}
        return any(self.storages[n].padded for n in names if n in self.storages)

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

    def _prefetch(self, stmt: Prefetch) -> None:
        place = self.storages[stmt.buffer.name]
        form = self.address(place, stmt.indices)
        pointer = self.pointer(place, replace(form, lane=0, vector=""))
        self.function.module.declare("void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.function.effect(
            f"call void @llvm.prefetch.p0(ptr {pointer}, i32 0, i32 {3 if stmt.near else 2}, i32 1)"
        )

    def _alloc(self, stmt: Alloc) -> None:
        buffer = stmt.buffer
        shadowed, top = self.storages.get(buffer.name), self.scratch_top
        strides = row_major_strides(buffer.shape)
        if on_stack(buffer) or self.width > 1:
            lanes = self.target.lanes(buffer.dtype)
            shape = padded_rows(buffer.shape, lanes) if self.width == 1 else buffer.shape
            strides = row_major_strides(shape)
            count = size_of(shape) * self.width + lanes
            pointer = self.function.alloca(f"[{count} x {storage(buffer.dtype)}]", _ALIGN)
            row = 0
            if self.width == 1 and shape:
                row = shape[-1] if len(shape) > 1 else shape[0] + lanes
            place = Storage(pointer, buffer.dtype, strides, self.width, padded=True, row=row)
        else:
            base, offset = self.scratch_base, self._count(top)
            pointer = self.function.pure(f"getelementptr i8, ptr {base}, i64 {offset}")
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

    def _count(self, number: int) -> str:
        """A number of bytes as text, computed where it is known only now."""
        if not isinstance(number, Size):
            return str(number)
        return scalar_part(self.function, self.affine(as_expr(number)))

    # --- parallel loops --------------------------------------------------------------------------

    def _thread_scratch(self, thread: str) -> str:
        """Where the temporaries of one thread lie, after the shared ones."""
        shared, private = self.scratch_bytes
        if not private:
            return self.scratch
        offset = self.function.pure(f"mul i64 {thread}, {self._count(private)}")
        offset = self.function.pure(f"add i64 {offset}, {self._count(shared)}")
        return self.function.pure(f"getelementptr i8, ptr {self.scratch}, i64 {offset}")

    def _parallel_loop(self, loop: For, extent: Affine) -> None:
        if extent.known and extent.const == 1:
            base, top = self.scratch_base, self.scratch_top
            self.parallel, self.scratch_top = True, 0
            self.scratch_base = self._thread_scratch("0")
            self._bound(loop.var, Affine(0), loop.body)
            self.parallel, self.scratch_base, self.scratch_top = False, base, top
            return
        fence(self)
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
        params = [_pointer(i, name in self.overlapping) for i, (name, _) in enumerate(places)]
        params += ["ptr noalias %scratch"] if self.scratch else []
        params += [f"i64 %outer{i}" for i in range(len(names))]
        module = self.function.module
        tail = "i64 %begin, i64 %end, i64 %thread"
        inner = Function(module, f"{symbol}.body", ", ".join([*params, tail]), self.attributes)
        captured = {name: f"%outer{i}" for i, name in enumerate(names)}
        child = Writer(inner, self.target, parallel=True, attributes=self.attributes)
        child.overlapping, child.far = self.overlapping, self.far
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
        fence(child)
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


def _pointer(number: int, overlaps: bool) -> str:
    """A pointer parameter. `noalias` lets LLVM move loads past stores through other pointers."""
    return f"ptr %p{number}" if overlaps else f"ptr noalias %p{number}"


def write_kernel(
    module: Module,
    kernel: Kernel,
    target: Target,
    symbol: str,
    overlapping: frozenset[str] = frozenset(),
    dims: Sequence[Dim] = (),
) -> None:
    """Adds `void symbol(ptr p0, ..., [open sizes], [ptr scratch])` to `module`.

    Sizes come as pointers, since the entry's table holds nothing else: their addresses are the
    sizes.

    Pointers need the alignment of one element. Memory of different params must not overlap, save
    that of `overlapping` ones, where an output is written at exactly the place an input was read
    from before.

    Raises:
        LoweringError: the kernel calls a function this target has no code for.
    """
    attributes = (
        f'nounwind "prefer-vector-width"="{target.vector_bits}" '
        f'"min-legal-vector-width"="{target.vector_bits}"'
    )
    scratch_bytes = kernel_scratch_bytes(kernel)
    params = [_pointer(i, b.name in overlapping) for i, b in enumerate(kernel.params)]
    scratch = "" if scratch_bytes == (0, 0) else "%scratch"
    params += [f"ptr %size.{d.name}" for d in dims]
    params += ["ptr noalias %scratch"] if scratch else []
    function = Function(module, symbol, ", ".join(params), attributes)
    writer = Writer(function, target, attributes=attributes)
    writer.overlapping = overlapping
    writer.far = far_outputs(kernel, target)
    writer.storages = {
        b.name: Storage(f"%p{i}", b.dtype, row_major_strides(b.shape))
        for i, b in enumerate(kernel.params)
    }
    for dim in dims:
        size = function.pure(f"ptrtoint ptr %size.{dim.name} to i64")
        writer.variables[Open.of(dim).name] = _name(size)
        writer.ranges[size] = (dim.min, dim.max)
    writer.scratch = writer.scratch_base = scratch
    writer.scratch_bytes = scratch_bytes
    writer.write(kernel.body)
    fence(writer)
    function.finish()
