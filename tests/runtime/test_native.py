"""Linked code can be called as long as someone holds it."""

from __future__ import annotations

import ctypes
import gc
import threading
from queue import SimpleQueue

import pytest

from pellucid.codegen.llvm import compile_ir
from pellucid.compile import this_machine
from pellucid.core.errors import CompileError
from pellucid.runtime.native import Library, link, pool_library

TWICE = "define i64 @twice(i64 %x) {\n  %y = add i64 %x, %x\n  ret i64 %y\n}\n"
QUAD = """declare i64 @twice(i64)
define i64 @quad(i64 %x) {
  %y = call i64 @twice(i64 %x)
  %z = call i64 @twice(i64 %y)
  ret i64 %z
}
"""


def compiled(text: str) -> bytes:
    return compile_ir(text, this_machine())


def test_objects_link_with_each_other() -> None:
    library = link([compiled(TWICE), compiled(QUAD)], ["quad"])
    assert library.function("quad", ctypes.c_int64, result=ctypes.c_int64)(11) == 44


def test_objects_link_with_imported_addresses() -> None:
    first = link([compiled(TWICE)], ["twice"])
    second = link([compiled(QUAD)], ["quad"], first.addresses)
    assert second.function("quad", ctypes.c_int64, result=ctypes.c_int64)(3) == 12


def test_a_function_keeps_its_code() -> None:
    functions = []
    for _ in range(20):
        library = link([compiled(TWICE)], ["twice"])
        functions.append(library.function("twice", ctypes.c_int64, result=ctypes.c_int64))
        del library
    gc.collect()
    assert [f(k) for k, f in enumerate(functions)] == [2 * k for k in range(20)]


@pytest.mark.parametrize("objects", [[compiled(QUAD)], [b"no object file"]])
def test_what_cannot_be_linked_is_a_compile_error(objects: list[bytes]) -> None:
    with pytest.raises(CompileError, match="cannot link"):
        link(objects, ["quad"])


def test_linking_goes_on_after_a_failure() -> None:
    with pytest.raises(CompileError):
        link([compiled(QUAD)], ["quad"])
    assert link([compiled(TWICE)], ["twice"]).addresses["twice"]


def test_dropped_code_is_freed_by_another_thread() -> None:
    """In the main thread, a Ctrl-C that came meanwhile would be lost."""
    freed: SimpleQueue[threading.Thread] = SimpleQueue()

    class Handle:
        def __del__(self) -> None:
            freed.put(threading.current_thread())

    pool_library()  # something was linked
    library = Library({}, [Handle()])
    del library
    assert freed.get(timeout=30).name == "pellucid-release"
