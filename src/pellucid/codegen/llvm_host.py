"""Calls of functions on the host as LLVM IR: for each kind of call a small function of its own.

Enters: what is called and how many arrays it gets. Leaves: a module with one exported function,
`i32 symbol(ptr record, ptr p0, ptr p1, ..., [ptr workspace])`, which programs call as they call
kernels. `record` is two words of 64 bits that the runtime fills: the address of the host's
function, and a status, 0 once the call went well. The status is also what is returned.

A Python function is reached through `void f(ptr arrays)`, with the addresses in an array; it clears
the status itself, so that one that was left by an exception counts as failed.
"""

from __future__ import annotations

import struct

from pellucid.codegen.llvm_emitter import Function, Module
from pellucid.loop.compute import CFunction, HostCall

FAILED = 1


def render_host(host: HostCall, arrays: int, symbol: str) -> str:
    """The module for a call with this many arrays.

    Args:
        host: what is called; of a C function, its numbers become part of the code.
        arrays: inputs and outputs together; the workspace is one more.
        symbol: the function's name.
    """
    module = Module()
    arrays += host.workspace > 0
    params = ", ".join(["ptr %record", *(f"ptr %p{k}" for k in range(arrays))])
    made = Function(module, symbol, params, "nounwind", "i32")
    function = made.emit("load ptr, ptr %record, align 8")
    status = made.emit("getelementptr i64, ptr %record, i64 1")
    made.effect(f"store i64 {FAILED}, ptr {status}, align 8")
    if host.when is None:
        _call(made, host, function, arrays, status)
    else:
        wanted = made.emit(f"icmp ne i32 {made.emit(f'load i32, ptr %p{host.when}, align 4')}, 0")
        made.branch(
            wanted,
            lambda: _call(made, host, function, arrays, status),
            lambda: _copy(made, host.copied_bytes, arrays - 1, status),
        )
    made.finish(result=made.emit(f"trunc i64 {made.emit(f'load i64, ptr {status}')} to i32"))
    return f"; workspace of {host.workspace} bytes\n{module.text()}"


def _call(made: Function, host: HostCall, function: str, arrays: int, status: str) -> None:
    if isinstance(host.run, CFunction):
        _call_c(made, host.run, function, arrays, status)
    else:
        _call_python(made, function, arrays)


def _copy(made: Function, size: int, output: int, status: str) -> None:
    """The first input is the output, which may be in the same place."""
    made.module.declare("void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)")
    made.effect(f"call void @llvm.memmove.p0.p0.i64(ptr %p{output}, ptr %p0, i64 {size}, i1 false)")
    made.effect(f"store i64 0, ptr {status}, align 8")


def _call_python(made: Function, function: str, arrays: int) -> None:
    block = made.alloca(f"[{max(1, arrays)} x ptr]", 8)
    for k in range(arrays):
        place = made.emit(f"getelementptr ptr, ptr {block}, i64 {k}")
        made.effect(f"store ptr %p{k}, ptr {place}, align 8")
    made.effect(f"call void {function}(ptr {block})")


def _call_c(made: Function, c: CFunction, function: str, arrays: int, status: str) -> None:
    given = [f"ptr %p{k}" for k in range(arrays)] + [_number(n) for n in c.numbers]
    call = f"{function}({', '.join(given)})"
    if c.status:
        returned = made.emit(f"call i32 {call}")
        made.effect(f"store i64 {made.emit(f'sext i32 {returned} to i64')}, ptr {status}, align 8")
    else:
        made.effect(f"call void {call}")
        made.effect(f"store i64 0, ptr {status}, align 8")


def _number(number: int | float) -> str:
    if isinstance(number, int):
        return f"i64 {int(number)}"
    return f"double 0x{_bits(number):016X}"


def _bits(number: float) -> int:
    return int.from_bytes(struct.pack(">d", number), "big")
