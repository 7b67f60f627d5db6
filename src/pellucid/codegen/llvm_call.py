"""The way into a compiled program as LLVM IR: a builtin function of CPython that reads a call's
arguments itself.

Leaves a module that exports `ptr pellucid_call(ptr self, ptr args, i64 n)`, a function with the
calling convention `METH_FASTCALL`. `self` is a Python int, the address of a plan; its arguments are
a tuple of positional arguments, a dict of named ones, and a list of fresh arrays for the outputs.
It returns True when the program has run, and False when something is not as the plan says; nothing
has been written then.

A plan is an array of 64-bit words, made by `runtime/direct.py`:

    head     the fields of `Head`, in order
    watched  for each: an address, a value, 1 if they must be equal or 0 if they must differ
    record   the words of `Record`, then the sizes of an array's axes
    slots    for each output: the place in the program's table
    spans    for each: start and end of memory the program overwrites, which no argument may touch

Why native: in Python, checking one array takes longer than the checks of a hundred do here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum

CALL = "pellucid_call"


class Head(IntEnum):
    """The head of a plan."""

    BUSY = 0  # address of a word that is not 0 while someone else uses the program's table
    ENTRY = 1
    TABLE = 2
    RELEASE = 3  # 1 if other Python threads may run meanwhile
    WATCHED = 4
    WATCHED_COUNT = 5
    RECORDS = 6
    RECORDS_COUNT = 7
    SLOTS = 8
    SLOTS_COUNT = 9
    SPANS = 10
    SPANS_COUNT = 11
    REGISTERS = 12  # containers that are being read: the object, and how far a dict has been read
    HELD = 13  # arrays whose memory the program uses: of the records, then of watched state
    HELD_COUNT = 14
    RAN = 15  # 1 if the last call ran the program
    ARRAY_TYPE = 16
    TRUE = 17
    FALSE = 18


class Record(IntEnum):
    """What is to be found at one place of the arguments."""

    SOURCE = 0  # a `Source`
    PARENT = 1  # a register
    INDEX = 2  # in the parent; a dict's key
    KIND = 3  # a `Kind`
    TYPE = 4  # the object's type; of a static object itself
    EXTENT = 5  # containers: their length; arrays: bytes
    TARGET = 6  # containers: a register; arrays: the table's slot; numbers: their address
    DTYPE = 7  # its address; numbers: a `Stored`
    AXES = 8
    WANTS = 9  # tensors: True or False
    WORDS = 10


class Source(IntEnum):
    """Where a record's object stands."""

    REGISTER = 0
    TUPLE = 1
    LIST = 2
    DICT = 3


class Kind(IntEnum):
    """What a record's object is."""

    STATIC = 0
    TUPLE = 1
    LIST = 2
    DICT = 3
    FLOAT = 4
    INT = 5
    ARRAY = 6
    TENSOR = 7


class Stored(IntEnum):
    """How a Python number is stored for the program."""

    FLOAT64 = 0
    FLOAT32 = 1
    INT64 = 2
    INT32 = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """Offsets in bytes of what is read in Python's objects."""

    type: int
    length: int
    tuple_items: int
    list_items: int
    number: int
    data: int
    axes: int
    sizes: int
    dtype: int
    flags: int
    tensor_array: int
    tensor_wants: int


def call_ir(fields: Fields) -> str:
    """The module, for objects with these fields."""
    names = {f"object.{k}": v for k, v in asdict(fields).items()}
    for prefix, words in (
        ("head", Head),
        ("record", Record),
        ("source", Source),
        ("kind", Kind),
        ("stored", Stored),
    ):
        names |= {f"{prefix}.{w.name.lower()}": w.value for w in words}
    text = _MODULE
    for name, value in names.items():
        text = text.replace(f"<{name}>", str(value))
    return text


_MODULE = """\
declare ptr @PyLong_AsVoidPtr(ptr)
declare i64 @PyLong_AsLongLongAndOverflow(ptr, ptr)
declare i64 @PyDict_Size(ptr)
declare i32 @PyDict_Next(ptr, ptr, ptr, ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define internal i64 @word(ptr %words, i64 %k) alwaysinline {
  %place = getelementptr i64, ptr %words, i64 %k
  %value = load i64, ptr %place
  ret i64 %value
}

define internal ptr @pointer(ptr %words, i64 %k) alwaysinline {
  %place = getelementptr ptr, ptr %words, i64 %k
  %value = load ptr, ptr %place
  ret ptr %value
}

define internal ptr @inside(ptr %object, i64 %offset) alwaysinline {
  %place = getelementptr i8, ptr %object, i64 %offset
  %value = load ptr, ptr %place
  ret ptr %value
}

; Whether every watched word has, or has not, its value.
define internal i1 @watched_hold(ptr %plan) {
entry:
  %words = call ptr @pointer(ptr %plan, i64 <head.watched>)
  %count = call i64 @word(ptr %plan, i64 <head.watched_count>)
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %look ]
  %held = phi i1 [ true, %entry ], [ %right, %look ]
  %left = icmp ult i64 %i, %count
  %go = and i1 %left, %held
  br i1 %go, label %look, label %done
look:
  %at = mul i64 %i, 3
  %watch = getelementptr i64, ptr %words, i64 %at
  %address = call ptr @pointer(ptr %watch, i64 0)
  %expected = call i64 @word(ptr %watch, i64 1)
  %equal = call i64 @word(ptr %watch, i64 2)
  %now = load i64, ptr %address
  %same = icmp eq i64 %now, %expected
  %wide = zext i1 %same to i64
  %right = icmp eq i64 %wide, %equal
  %next = add i64 %i, 1
  br label %loop
done:
  ret i1 %held
}

; The object a record is about, null if a dict has another key there.
define internal ptr @fetch(ptr %record, ptr %registers) {
entry:
  %key = alloca ptr
  %value = alloca ptr
  %source = call i64 @word(ptr %record, i64 <record.source>)
  %register = call i64 @word(ptr %record, i64 <record.parent>)
  %index = call i64 @word(ptr %record, i64 <record.index>)
  %double = shl i64 %register, 1
  %place = getelementptr i64, ptr %registers, i64 %double
  %parent = load ptr, ptr %place
  switch i64 %source, label %register_ [
    i64 <source.tuple>, label %tuple
    i64 <source.list>, label %list
    i64 <source.dict>, label %dict
  ]
register_:
  ret ptr %parent
tuple:
  %titems = getelementptr i8, ptr %parent, i64 <object.tuple_items>
  %titem = call ptr @pointer(ptr %titems, i64 %index)
  ret ptr %titem
list:
  %litems = call ptr @inside(ptr %parent, i64 <object.list_items>)
  %litem = call ptr @pointer(ptr %litems, i64 %index)
  ret ptr %litem
dict:
  %cursor = getelementptr i64, ptr %place, i64 1
  %some = call i32 @PyDict_Next(ptr %parent, ptr %cursor, ptr %key, ptr %value)
  %end = icmp eq i32 %some, 0
  br i1 %end, label %none, label %found
found:
  %k = load i64, ptr %key
  %known = icmp eq i64 %k, %index
  br i1 %known, label %named, label %none
named:
  %item = load ptr, ptr %value
  ret ptr %item
none:
  ret ptr null
}

; Whether memory that the program overwrites holds part of an array.
define internal i1 @touches(ptr %plan, ptr %data, i64 %nbytes) {
entry:
  %spans = call ptr @pointer(ptr %plan, i64 <head.spans>)
  %count = call i64 @word(ptr %plan, i64 <head.spans_count>)
  %start = ptrtoint ptr %data to i64
  %stop = add i64 %start, %nbytes
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %look ]
  %hit = phi i1 [ false, %entry ], [ %both, %look ]
  %left = icmp ult i64 %i, %count
  %miss = xor i1 %hit, true
  %go = and i1 %left, %miss
  br i1 %go, label %look, label %done
look:
  %at = shl i64 %i, 1
  %span = getelementptr i64, ptr %spans, i64 %at
  %begin = call i64 @word(ptr %span, i64 0)
  %end = call i64 @word(ptr %span, i64 1)
  %above = icmp ugt i64 %stop, %begin
  %below = icmp ult i64 %start, %end
  %both = and i1 %above, %below
  %next = add i64 %i, 1
  br label %loop
done:
  ret i1 %hit
}

; Takes an array as a record wants it; false if it is not so. C-contiguous and aligned: flags 0x101.
define internal i1 @take_array(ptr %plan, ptr %record, ptr %array, ptr %held) {
entry:
  %type = call ptr @inside(ptr %array, i64 <object.type>)
  %ndarray = call ptr @pointer(ptr %plan, i64 <head.array_type>)
  %is_array = icmp eq ptr %type, %ndarray
  br i1 %is_array, label %typed, label %no
typed:
  %dtype = call ptr @inside(ptr %array, i64 <object.dtype>)
  %wanted = call ptr @pointer(ptr %record, i64 <record.dtype>)
  %same_dtype = icmp eq ptr %dtype, %wanted
  %axes_at = getelementptr i8, ptr %array, i64 <object.axes>
  %axes32 = load i32, ptr %axes_at
  %axes = sext i32 %axes32 to i64
  %wanted_axes = call i64 @word(ptr %record, i64 <record.axes>)
  %same_axes = icmp eq i64 %axes, %wanted_axes
  %flags_at = getelementptr i8, ptr %array, i64 <object.flags>
  %flags = load i32, ptr %flags_at
  %masked = and i32 %flags, 257
  %solid = icmp eq i32 %masked, 257
  %a = and i1 %same_dtype, %same_axes
  %b = and i1 %a, %solid
  br i1 %b, label %sized, label %no
sized:
  %sizes = call ptr @inside(ptr %array, i64 <object.sizes>)
  %wanted_sizes = getelementptr i64, ptr %record, i64 <record.words>
  br label %loop
loop:
  %i = phi i64 [ 0, %sized ], [ %next, %more ]
  %all = icmp eq i64 %i, %axes
  br i1 %all, label %fits, label %size
size:
  %n = call i64 @word(ptr %sizes, i64 %i)
  %w = call i64 @word(ptr %wanted_sizes, i64 %i)
  %same = icmp eq i64 %n, %w
  br i1 %same, label %more, label %no
more:
  %next = add i64 %i, 1
  br label %loop
fits:
  %data = call ptr @inside(ptr %array, i64 <object.data>)
  %nbytes = call i64 @word(ptr %record, i64 <record.extent>)
  %hit = call i1 @touches(ptr %plan, ptr %data, i64 %nbytes)
  br i1 %hit, label %no, label %take
take:
  %table = call ptr @pointer(ptr %plan, i64 <head.table>)
  %slot = call i64 @word(ptr %record, i64 <record.target>)
  %entry_at = getelementptr ptr, ptr %table, i64 %slot
  store ptr %data, ptr %entry_at
  store ptr %array, ptr %held
  ret i1 true
no:
  ret i1 false
}

; Takes a container: its length must be as recorded, and it becomes a parent.
define internal i1 @take_container(ptr %record, ptr %object, i64 %length, ptr %registers) {
  %wanted = call i64 @word(ptr %record, i64 <record.extent>)
  %register = call i64 @word(ptr %record, i64 <record.target>)
  %double = shl i64 %register, 1
  %place = getelementptr i64, ptr %registers, i64 %double
  %cursor = getelementptr i64, ptr %place, i64 1
  store ptr %object, ptr %place
  store i64 0, ptr %cursor
  %same = icmp eq i64 %length, %wanted
  ret i1 %same
}

; Stores a whole number as the program wants it; false if it does not fit.
define internal i1 @store_int(ptr %record, ptr %object) {
entry:
  %overflow = alloca i32
  %value = call i64 @PyLong_AsLongLongAndOverflow(ptr %object, ptr %overflow)
  %over = load i32, ptr %overflow
  %fits = icmp eq i32 %over, 0
  %to = call ptr @pointer(ptr %record, i64 <record.target>)
  %stored = call i64 @word(ptr %record, i64 <record.dtype>)
  br i1 %fits, label %choose, label %no
choose:
  %real = sitofp i64 %value to double
  switch i64 %stored, label %no [
    i64 <stored.float64>, label %double
    i64 <stored.float32>, label %float
    i64 <stored.int64>, label %long
    i64 <stored.int32>, label %int
  ]
double:
  store double %real, ptr %to
  ret i1 true
float:
  %single = fptrunc double %real to float
  store float %single, ptr %to
  ret i1 true
long:
  store i64 %value, ptr %to
  ret i1 true
int:
  %short = trunc i64 %value to i32
  %back = sext i32 %short to i64
  %same = icmp eq i64 %back, %value
  store i32 %short, ptr %to
  ret i1 %same
no:
  ret i1 false
}

; Takes the object of one record; false if it is another than recorded.
define internal i1 @take(ptr %plan, ptr %record, ptr %registers, ptr %held) {
entry:
  store ptr null, ptr %held
  %object = call ptr @fetch(ptr %record, ptr %registers)
  %absent = icmp eq ptr %object, null
  br i1 %absent, label %no, label %present
present:
  %kind = call i64 @word(ptr %record, i64 <record.kind>)
  %expected = call ptr @pointer(ptr %record, i64 <record.type>)
  %is_static = icmp eq i64 %kind, <kind.static>
  br i1 %is_static, label %static, label %typed
static:
  %itself = icmp eq ptr %object, %expected
  ret i1 %itself
typed:
  %type = call ptr @inside(ptr %object, i64 <object.type>)
  %right = icmp eq ptr %type, %expected
  br i1 %right, label %choose, label %no
choose:
  switch i64 %kind, label %no [
    i64 <kind.tuple>, label %sequence
    i64 <kind.list>, label %sequence
    i64 <kind.dict>, label %dict
    i64 <kind.float>, label %float
    i64 <kind.int>, label %int
    i64 <kind.array>, label %array
    i64 <kind.tensor>, label %tensor
  ]
sequence:
  %length_at = getelementptr i8, ptr %object, i64 <object.length>
  %length = load i64, ptr %length_at
  %fits = call i1 @take_container(ptr %record, ptr %object, i64 %length, ptr %registers)
  ret i1 %fits
dict:
  %size = call i64 @PyDict_Size(ptr %object)
  %suits = call i1 @take_container(ptr %record, ptr %object, i64 %size, ptr %registers)
  ret i1 %suits
float:
  %float_at = getelementptr i8, ptr %object, i64 <object.number>
  %value = load double, ptr %float_at
  %to = call ptr @pointer(ptr %record, i64 <record.target>)
  %stored = call i64 @word(ptr %record, i64 <record.dtype>)
  %is_single = icmp eq i64 %stored, <stored.float32>
  br i1 %is_single, label %single, label %double
single:
  %rounded = fptrunc double %value to float
  store float %rounded, ptr %to
  ret i1 true
double:
  store double %value, ptr %to
  ret i1 true
int:
  %whole = call i1 @store_int(ptr %record, ptr %object)
  ret i1 %whole
array:
  %taken = call i1 @take_array(ptr %plan, ptr %record, ptr %object, ptr %held)
  ret i1 %taken
tensor:
  %wants = call ptr @inside(ptr %object, i64 <object.tensor_wants>)
  %wanted = call ptr @pointer(ptr %record, i64 <record.wants>)
  %same_wants = icmp eq ptr %wants, %wanted
  %inner = call ptr @inside(ptr %object, i64 <object.tensor_array>)
  %some = icmp ne ptr %inner, null
  %good = and i1 %same_wants, %some
  br i1 %good, label %hold, label %no
hold:
  %kept = call i1 @take_array(ptr %plan, ptr %record, ptr %inner, ptr %held)
  ret i1 %kept
no:
  ret i1 false
}

; Takes the objects of all records, as long as they are what was recorded.
define internal i1 @take_all(ptr %plan) {
entry:
  %first = call ptr @pointer(ptr %plan, i64 <head.records>)
  %count = call i64 @word(ptr %plan, i64 <head.records_count>)
  %registers = call ptr @pointer(ptr %plan, i64 <head.registers>)
  %held = call ptr @pointer(ptr %plan, i64 <head.held>)
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %look ]
  %record = phi ptr [ %first, %entry ], [ %following, %look ]
  %good = phi i1 [ true, %entry ], [ %taken, %look ]
  %left = icmp ult i64 %i, %count
  %go = and i1 %left, %good
  br i1 %go, label %look, label %done
look:
  %place = getelementptr ptr, ptr %held, i64 %i
  %taken = call i1 @take(ptr %plan, ptr %record, ptr %registers, ptr %place)
  %axes = call i64 @word(ptr %record, i64 <record.axes>)
  %words = add i64 %axes, <record.words>
  %following = getelementptr i64, ptr %record, i64 %words
  %next = add i64 %i, 1
  br label %loop
done:
  ret i1 %good
}

; Writes the addresses of the arrays that will hold the outputs.
define internal void @place_outputs(ptr %plan, ptr %list) {
entry:
  %table = call ptr @pointer(ptr %plan, i64 <head.table>)
  %slots = call ptr @pointer(ptr %plan, i64 <head.slots>)
  %count = call i64 @word(ptr %plan, i64 <head.slots_count>)
  %items = call ptr @inside(ptr %list, i64 <object.list_items>)
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %look ]
  %left = icmp ult i64 %i, %count
  br i1 %left, label %look, label %done
look:
  %array = call ptr @pointer(ptr %items, i64 %i)
  %data = call ptr @inside(ptr %array, i64 <object.data>)
  %slot = call i64 @word(ptr %slots, i64 %i)
  %place = getelementptr ptr, ptr %table, i64 %slot
  store ptr %data, ptr %place
  %next = add i64 %i, 1
  br label %loop
done:
  ret void
}

; Adds a reference to every array in use, or takes it back.
define internal void @hold(ptr %plan, i1 %begin) {
entry:
  %held = call ptr @pointer(ptr %plan, i64 <head.held>)
  %count = call i64 @word(ptr %plan, i64 <head.held_count>)
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %more ]
  %left = icmp ult i64 %i, %count
  br i1 %left, label %look, label %done
look:
  %object = call ptr @pointer(ptr %held, i64 %i)
  %absent = icmp eq ptr %object, null
  br i1 %absent, label %more, label %some
some:
  br i1 %begin, label %one_more, label %one_less
one_more:
  call void @Py_IncRef(ptr %object)
  br label %more
one_less:
  call void @Py_DecRef(ptr %object)
  br label %more
more:
  %next = add i64 %i, 1
  br label %loop
done:
  ret void
}

define ptr @pellucid_call(ptr %self, ptr %arguments, i64 %n) {
entry:
  %plan = call ptr @PyLong_AsVoidPtr(ptr %self)
  %ran = getelementptr i64, ptr %plan, i64 <head.ran>
  store i64 0, ptr %ran
  %flag = call ptr @pointer(ptr %plan, i64 <head.busy>)
  %busy = load i64, ptr %flag
  %free = icmp eq i64 %busy, 0
  br i1 %free, label %watch, label %no
watch:
  %same = call i1 @watched_hold(ptr %plan)
  br i1 %same, label %arguments_, label %no
arguments_:
  %registers = call ptr @pointer(ptr %plan, i64 <head.registers>)
  %positional = call ptr @pointer(ptr %arguments, i64 0)
  %named = call ptr @pointer(ptr %arguments, i64 1)
  %second = getelementptr i64, ptr %registers, i64 2
  store ptr %positional, ptr %registers
  store ptr %named, ptr %second
  %taken = call i1 @take_all(ptr %plan)
  br i1 %taken, label %go, label %no
go:
  %outputs = call ptr @pointer(ptr %arguments, i64 2)
  call void @place_outputs(ptr %plan, ptr %outputs)
  %program = call ptr @pointer(ptr %plan, i64 <head.entry>)
  %table = call ptr @pointer(ptr %plan, i64 <head.table>)
  %release = call i64 @word(ptr %plan, i64 <head.release>)
  %brief = icmp eq i64 %release, 0
  br i1 %brief, label %run, label %run_alone
run:
  call void %program(ptr %table)
  br label %yes
run_alone:
  call void @hold(ptr %plan, i1 true)
  store i64 1, ptr %flag
  %thread = call ptr @PyEval_SaveThread()
  call void %program(ptr %table)
  call void @PyEval_RestoreThread(ptr %thread)
  call void @hold(ptr %plan, i1 false) ; may run Python code, which must find the flag set
  store i64 0, ptr %flag
  br label %yes
yes:
  store i64 1, ptr %ran
  %true = call ptr @pointer(ptr %plan, i64 <head.true>)
  call void @Py_IncRef(ptr %true)
  ret ptr %true
no:
  %false = call ptr @pointer(ptr %plan, i64 <head.false>)
  call void @Py_IncRef(ptr %false)
  ret ptr %false
}
"""
