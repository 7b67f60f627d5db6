"""Calling a program without Python between the caller's arguments and the machine code.

Enters: an executable, and where in the arguments of a call its inputs stand. Leaves: a builtin
function of CPython (`codegen/llvm_call.py`) that checks the arguments, writes the pointers and runs
the program: 10 ns for each array instead of 300.

It reads the fields of Python's objects where this interpreter has them, after looking whether they
are there. Where they are not (another interpreter, one without the global lock), there are no
direct calls, and `Executable.run` does the same in Python.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import sys
import sysconfig
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.llvm import compile_ir, host_target
from pellucid.codegen.llvm_call import CALL, Fields, Head, Kind, Record, Source, Stored, call_ir
from pellucid.core.errors import CompileError
from pellucid.lower.flow import is_endless
from pellucid.runtime.buffer import data_pointer
from pellucid.runtime.cache import open_cache
from pellucid.runtime.executable import Executable
from pellucid.runtime.native import Library, link

BRIEF_SECONDS = 50e-6  # a program that takes no longer keeps the interpreter's lock
_FLOPS_PER_SECOND, _BYTES_PER_SECOND = 5e10, 4e10  # of a small program, roughly
_FASTCALL = 0x80
_WORD = 8
_OBJECT = object.__basicsize__  # reference count and type
_KINDS: dict[type, Kind] = {tuple: Kind.TUPLE, list: Kind.LIST, dict: Kind.DICT}
_STORED = {s.name.lower(): s for s in Stored}  # by dtype
_SOURCES = {Kind.TUPLE: Source.TUPLE, Kind.LIST: Source.LIST, Kind.DICT: Source.DICT}

Array = NDArray[Any]
DirectCall = Callable[[tuple[Any, ...], dict[str, Any], list[Array]], bool]
"""Runs the program if the arguments are as planned: positional ones, named ones, and fresh arrays
for the outputs that take no input's memory. Whether it did."""


class DirectPlan:
    """Where the inputs of a program stand in the arguments of a call, and what has to hold.

    Args:
        executable: the program.
        tensor: the class of tensors, of which `_array` and `requires_grad` are slots.

    The plan has a table of pointers of its own, and keeps alive whatever it compares with by
    address. Make it, tell it all records in the order in which containers are read, then `finish`.

    Raises:
        CompileError: this interpreter has no direct calls.
    """

    def __init__(self, executable: Executable, tensor: type) -> None:
        self.executable, self._tensor = executable, tensor
        self._entry = _entry(_slot(tensor, "_array"), _slot(tensor, "requires_grad"))
        self._table = type(executable.table)(*executable.table)
        self._records: list[int] = []
        self._count = 0
        self._watched: list[int] = []
        self._spans: list[int] = []
        self._state: list[int] = []  # addresses of arrays, held while other threads may run
        self._registers = 2  # the positional arguments, the named ones
        self._kept: list[Any] = []
        self._gone = ctypes.c_int64(0)
        self._watched += [ctypes.addressof(self._gone), 0, 1]

    def container(self, value: Any, parent: int, source: Source, index: Any) -> tuple[int, Source]:
        """A tuple, list or dict with as many items as this one; where its items are read from."""
        kind, register = _KINDS[type(value)], self._registers
        self._registers += 1
        self._record(
            (source, parent, index),
            {Record.KIND: kind, Record.TYPE: id(type(value)), Record.EXTENT: len(value),
             Record.TARGET: register},
        )  # fmt: skip
        return register, _SOURCES[kind]

    def static(self, value: Any, parent: int, source: Source, index: Any) -> None:
        """This very object."""
        self._kept.append(value)
        self._record((source, parent, index), {Record.KIND: Kind.STATIC, Record.TYPE: id(value)})

    def number(self, k: int, kind: type, parent: int, source: Source, index: Any) -> bool:
        """A Python float or int, as its type says: input `k`; False if that dtype is not known."""
        port = self.executable.program.inputs[k]
        if port.dtype not in _STORED or (kind is float and port.dtype.startswith("int")):
            return False
        place = (ctypes.c_int64 * 1)()
        self._kept.append(place)
        self._table[port.slot] = ctypes.addressof(place)
        self._record(
            (source, parent, index),
            {Record.KIND: Kind.FLOAT if kind is float else Kind.INT, Record.TYPE: id(kind),
             Record.TARGET: ctypes.addressof(place), Record.DTYPE: _STORED[port.dtype]},
        )  # fmt: skip
        return True

    def data(self, k: int, box: Any, parent: int, source: Source, index: Any) -> None:
        """A tensor like this one, or an array: input `k`."""
        port = self.executable.program.inputs[k]
        is_array = type(box) is np.ndarray
        words = {
            Record.KIND: Kind.ARRAY if is_array else Kind.TENSOR,
            Record.TYPE: id(type(box)),
            Record.EXTENT: int(np.prod(port.shape)) * port.numpy.itemsize,
            Record.TARGET: port.slot,
            Record.DTYPE: id(port.numpy),
            Record.AXES: len(port.shape),
            Record.WANTS: 0 if is_array else id(bool(box.requires_grad)),
        }
        self._kept += [type(box), port.numpy]
        self._record((source, parent, index), words, port.shape)

    def state(self, k: int, box: Any) -> None:
        """Input `k` is this tensor's array as it is now, C-contiguous and of the input's type."""
        array, port = box._array, self.executable.program.inputs[k]
        start = data_pointer(array)
        self._watch(box, "_array", id(array))
        self._state.append(id(array))
        # not kept alive: once it has gone, its address says nothing
        self._kept.append(weakref.ref(array, functools.partial(_set, self._gone)))
        self._table[port.slot] = start
        if k in self.executable.program.donated.values():
            self._spans += [start, start + array.nbytes]

    def watch(self, box: Any, slot: str, value: Any, equal: bool = True) -> None:
        """The slot of a tensor holds this value; or any other, where not `equal`."""
        self._kept.append(value)
        self._watch(box, slot, id(value), equal)

    def _watch(self, box: Any, slot: str, address: int, equal: bool = True) -> None:
        self._kept.append(box)
        self._watched += [id(box) + _slot(self._tensor, slot), address, int(equal)]

    def finish(self) -> DirectCall:
        """The function that makes the call."""
        program = self.executable.program
        slots = [p.slot for i, p in enumerate(program.outputs) if i not in program.donated]
        head = dict[Head, int]()
        head[Head.BUSY] = ctypes.addressof(self.executable.busy)
        head[Head.ENTRY] = self.executable.library.addresses[program.entry]
        head[Head.TABLE] = ctypes.addressof(self._table)
        head[Head.RELEASE] = int(not self.is_brief)
        head[Head.WATCHED], head[Head.WATCHED_COUNT] = (
            self._words(self._watched),
            len(self._watched) // 3,
        )
        head[Head.RECORDS], head[Head.RECORDS_COUNT] = self._words(self._records), self._count
        head[Head.SLOTS], head[Head.SLOTS_COUNT] = self._words(slots), len(slots)
        head[Head.SPANS], head[Head.SPANS_COUNT] = self._words(self._spans), len(self._spans) // 2
        head[Head.REGISTERS] = self._words([0] * 2 * self._registers)
        held = [0] * self._count + self._state
        head[Head.HELD], head[Head.HELD_COUNT] = self._words(held), len(held)
        head |= {
            Head.RAN: 0,
            Head.ARRAY_TYPE: id(np.ndarray),
            Head.TRUE: id(True),
            Head.FALSE: id(False),
        }
        address = self._words([head[k] for k in Head])
        self._ran = ctypes.c_int64.from_address(address + _WORD * Head.RAN)
        return self._entry.bound(address)

    @property
    def ran(self) -> bool:
        """Whether the last call ran the program."""
        return bool(self._ran.value)

    @property
    def is_brief(self) -> bool:
        """Whether the program ends before another thread would miss the interpreter's lock."""
        program = self.executable.program
        if is_endless(program.flow):
            return False
        calls = program.calls
        flops, nbytes = sum(c.flops for c in calls), sum(c.nbytes for c in calls)
        return flops / _FLOPS_PER_SECOND + nbytes / _BYTES_PER_SECOND < BRIEF_SECONDS

    def _record(
        self, place: tuple[Source, int, Any], words: dict[Record, int], sizes: Sequence[int] = ()
    ) -> None:
        source, parent, index = place
        record = [0] * Record.WORDS
        record[Record.SOURCE], record[Record.PARENT] = source, parent
        record[Record.INDEX] = id(index) if source is Source.DICT else index
        self._kept.append(index)
        for k, word in words.items():
            record[k] = word
        self._records += [*record, *sizes]
        self._count += 1

    def _words(self, values: Sequence[int]) -> int:
        """The address of these words."""
        block = (ctypes.c_int64 * max(1, len(values)))(*values)
        self._kept.append(block)
        return ctypes.addressof(block)


class _MethodDef(ctypes.Structure):
    """`PyMethodDef`: how CPython describes a builtin function."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Entry:
    """The native code, as something builtin functions are made of."""

    def __init__(self, library: Library) -> None:
        self._library = library  # the code goes with it
        self._method = _MethodDef(b"call", library.addresses[CALL], _FASTCALL, None)
        self._make = ctypes.pythonapi.PyCFunction_NewEx
        self._make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
        self._make.restype = ctypes.py_object

    def bound(self, plan: int) -> DirectCall:
        """The function for the plan at this address. It does not keep the plan alive."""
        return self._make(ctypes.addressof(self._method), plan, None)  # type: ignore[no-any-return]


@functools.cache
def _entry(array_slot: int, wants_slot: int) -> _Entry:
    fields = _object_fields(array_slot, wants_slot)
    text, target = call_ir(fields), host_target()
    cache, key = open_cache(), hashlib.sha256(f"{target} {text}".encode()).hexdigest()
    code = cache.get(key)
    if code is None:
        code = compile_ir(text, target)
        cache.put(key, code)
    return _Entry(link([code], [CALL]))


def _object_fields(array_slot: int, wants_slot: int) -> Fields:
    """The fields of objects as CPython and NumPy lay them out, seen to be so on samples.

    NumPy's are fixed by its C interface (`PyArrayObject_fields`).
    """
    fields = Fields(
        type=_OBJECT - _WORD,
        length=_OBJECT,
        tuple_items=tuple.__basicsize__,
        list_items=_OBJECT + _WORD,
        number=_OBJECT,
        data=_OBJECT,
        axes=_OBJECT + _WORD,
        sizes=_OBJECT + 2 * _WORD,
        dtype=_OBJECT + 5 * _WORD,
        flags=_OBJECT + 6 * _WORD,
        tensor_array=array_slot,
        tensor_wants=wants_slot,
    )
    if not _as_expected(fields):
        raise CompileError("direct", "objects of this interpreter are not as expected")
    return fields


def _as_expected(fields: Fields) -> bool:
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    array, number = np.zeros((3, 5), np.int16), 1.5
    pair, many = (object(), object()), [object(), object()]
    sizes = _word(array, fields.sizes)
    return (
        _word(pair, fields.type) == id(tuple)
        and _word(pair, fields.length) == _word(many, fields.length) == 2
        and _word(pair, fields.tuple_items + _WORD) == id(pair[1])
        and _at(_word(many, fields.list_items) + _WORD) == id(many[1])
        and ctypes.c_double.from_address(id(number) + fields.number).value == number
        and _word(array, fields.data) == array.__array_interface__["data"][0]
        and ctypes.c_int.from_address(id(array) + fields.axes).value == array.ndim
        and (_at(sizes), _at(sizes + _WORD)) == array.shape
        and _word(array, fields.dtype) == id(array.dtype)
        and ctypes.c_int.from_address(id(array) + fields.flags).value == array.flags.num
    )


def _set(flag: ctypes.c_int64, _: object) -> None:
    flag.value = 1


def _word(value: Any, offset: int) -> int:
    return _at(id(value) + offset)


def _at(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


@functools.cache
def _slot(cls: Any, name: str) -> int:
    """Where objects of a class, and of all that derive from it, keep one of its slots, in bytes."""
    sample, mark = cls.__new__(cls), object()
    object.__setattr__(sample, name, mark)
    places = range(_OBJECT, cls.__basicsize__, _WORD)
    found = [place for place in places if _word(sample, place) == id(mark)]
    if len(found) != 1:
        raise CompileError("direct", f"no such slot in {cls.__name__}: {name}")
    return found[0]
