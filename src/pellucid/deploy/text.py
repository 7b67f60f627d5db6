"""The text of an exported program: one C99 file and its header.

Enters: `Layout` and names. Leaves: two strings, the same for the same program. Nothing in them
depends on time, paths or the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pellucid.codegen.c99 import render_functions_c
from pellucid.codegen.c99_helpers import c_type
from pellucid.core.dtype import DType
from pellucid.core.version import VERSION
from pellucid.deploy.flow import FlowText
from pellucid.deploy.layout import Layout, c_function_of, identifier, unique
from pellucid.deploy.literals import array_text
from pellucid.graph.ir import TensorType
from pellucid.lower.flow import numbered
from pellucid.lower.program import KernelCall

C_WORDS = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while main arena
    alignas alignof and and_eq asm bitand bitor bool catch class compl concept const_cast constexpr
    decltype delete dynamic_cast explicit export false friend mutable namespace new noexcept not
    not_eq nullptr operator or or_eq private protected public reinterpret_cast requires
    static_assert static_cast template this thread_local throw true try typeid typename using
    virtual wchar_t xor xor_eq NULL NAN INFINITY linux unix errno""".split()
)
"""Names neither C nor C++ lets a header use, and those the file uses itself."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name in Python, its parameter's name in C, its type."""

    name: str
    parameter: str
    type: TensorType

    @property
    def c_type(self) -> str:
        """The C type of one element."""
        return c_type(self.type.dtype)

    @property
    def shape(self) -> str:
        """The shape as a C initialiser; a scalar is an array of one."""
        return "{" + ", ".join(map(str, self.type.shape or (1,))) + "}"

    @property
    def described(self) -> str:
        """For a comment: `x, float32[60, 10]`."""
        return f"{_comment(self.name)}, {_type_text(self.type)}"


def ports(names: Sequence[str], types: Sequence[TensorType], taken: set[str]) -> tuple[Port, ...]:
    """Ports with parameter names that are C's, all different."""
    return tuple(Port(n, _parameter(n, taken), t) for n, t in zip(names, types, strict=True))


def _parameter(name: str, taken: set[str]) -> str:
    text = identifier(name) or "x"
    if text[0].isdigit():
        text = f"x{text}"
    if text in C_WORDS or text.startswith(("weight_", "kernel")):
        text += "_"  # the file's own names never end so
    return unique(text, taken)


def header_text(name: str, inputs: Sequence[Port], outputs: Sequence[Port], layout: Layout) -> str:
    """The header: how to call the program, and its sizes as macros."""
    upper = name.upper()
    sizes = {
        "WEIGHT_BYTES": sum(w.array.nbytes for w in layout.weights.values()),
        "ARENA_BYTES": layout.plan.peak,
        "INPUTS": len(inputs),
        "OUTPUTS": len(outputs),
    }
    lines = [
        f"/* {name}: made by Pellucid {VERSION}. Do not edit: export again. */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        *(f"#define {upper}_{key} {value}" for key, value in sizes.items()),
        "",
        *_port_macros(f"{upper}_INPUT", inputs),
        *_port_macros(f"{upper}_OUTPUT", outputs),
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* Runs the program once. Arrays are row-major and dense (the last axis contiguous) and",
        "   hold as many elements as the macros say; bool is a byte, 0 or 1. No two may overlap.",
        "   Returns 0, or 1 where a pointer is null. Intermediate results live in one static",
        "   arena: call it from one thread at a time.",
        *_failures(layout),
        "",
        *(f"   {p.parameter}: {p.described}, read" for p in inputs),
        *(f"   {p.parameter}: {p.described}, written" for p in outputs),
        "*/",
        f"{_prototype(name, inputs, outputs)};",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        f"#endif /* {upper}_H */",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _failures(layout: Layout) -> Iterator[str]:
    hosts = [c.host for c in layout.program.calls if c.host is not None]
    if any(host.may_fail for host in hosts):
        yield "   Returns 2 where one of your own functions does not return 0."


def _port_macros(prefix: str, group: Sequence[Port]) -> Iterator[str]:
    for i, port in enumerate(group):
        yield f"/* {port.described} */"
        yield f"#define {prefix}{i}_SIZE {port.type.size}"
        yield f"#define {prefix}{i}_RANK {port.type.rank}"
        yield f"#define {prefix}{i}_SHAPE {port.shape}"
        yield f"#define {prefix}{i}_TYPE {port.c_type}"
        yield ""


def _prototype(name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    params = [f"const {p.c_type} *{p.parameter}" for p in inputs]
    params += [f"{p.c_type} *{p.parameter}" for p in outputs]
    return f"int {name}_run({', '.join(params)})"


def source_text(name: str, inputs: Sequence[Port], outputs: Sequence[Port], layout: Layout) -> str:
    """The C file: weights, arena, kernels, and the function that calls them in order."""
    functions = render_functions_c(layout.kernels, static=True)
    parts = [
        f"/* {name}: made by Pellucid {VERSION}. Do not edit: export again.\n\n"
        "   From top to bottom: weights, the arena of intermediate results, one function per\n"
        f"   kernel, and {name}_run, which calls them. */",
        f'#include "{name}.h"\n\n#include <math.h>\n#include <string.h>',
        *(_weight_text(w.name, w.symbol, layout, slot) for slot, w in layout.weights.items()),
        *_arena_text(layout),
        _declarations(layout),
        functions.rstrip("\n"),
        _run_text(name, inputs, outputs, layout),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _weight_text(name: str, symbol: str, layout: Layout, slot: int) -> str:
    type = layout.program.slots[slot].type
    title = f"/* {_comment(name)}, {_type_text(type)} */"
    return f"{title}\n{array_text(symbol, layout.weights[slot].array)}"


def _arena_text(layout: Layout) -> Iterator[str]:
    """A union, so that memory used for one type after another is C's own notion of it."""
    kinds, peak = _kinds(layout), layout.plan.peak
    if not kinds and not peak:
        return
    # an arena of no bytes is still pointed to by kernels that read empty arrays
    members = [f"  {c_type(d)} {d.short}[{max(1, peak // d.itemsize)}];" for d in kinds]
    title = (
        f"/* Intermediate results; without sharing they would be {layout.plan.no_reuse} bytes. */"
    )
    lines = ["static union {", "  double aligned;", *members]
    yield "\n".join([title, *lines, f"  unsigned char bytes[{max(1, peak)}];", "} arena;"])


def _kinds(layout: Layout) -> list[DType]:
    """The dtypes of the temporaries, in order of appearance."""
    return list(dict.fromkeys(s.type.dtype for s in layout.program.slots if s.role == "temp"))


def _run_text(name: str, inputs: Sequence[Port], outputs: Sequence[Port], layout: Layout) -> str:
    program = layout.program
    places = {s: p.parameter for s, p in zip(program.inputs, inputs, strict=True)}
    places |= {s: p.parameter for s, p in zip(program.outputs, outputs, strict=True)}
    places |= {slot: w.symbol for slot, w in layout.weights.items()}
    offsets = layout.plan.offsets()
    for slot in program.slots:
        if slot.role == "temp":
            at = offsets.get(slot.id, 0) // slot.type.dtype.itemsize
            places[slot.id] = f"arena.{slot.type.dtype.short}" + (f" + {at}" if at else "")
    null = " || ".join(f"{p.parameter} == 0" for p in (*inputs, *outputs))
    lines = [f"{_prototype(name, inputs, outputs)} {{", f"  if ({null}) return 1;"]
    flow = FlowText(program, places)
    lines += [f"  {line}" for line in flow.declarations()]

    def call_lines(number: int) -> list[str]:
        arguments = layout.calls[number]
        given = [flow.places[s] for s in arguments.slots]
        if arguments.scratch is not None:
            given.append(f"arena.bytes + {offsets[arguments.scratch]}")
        call = program.calls[number]
        return [_call_comment(call), _call_text(call, arguments.symbol, given)]

    lines += [f"  {line}" for line in flow.lines(numbered(program.steps), call_lines)]
    return "\n".join([*lines, "  return 0;", "}"])


def _call_text(call: KernelCall, symbol: str, given: Sequence[str]) -> str:
    if call.host is None:
        return f"{symbol}({', '.join(given)});"
    function = c_function_of(call)
    text = f"{symbol}({', '.join([*given, *map(_number, function.numbers)])})"
    return f"if ({text} != 0) return 2;" if function.status else f"{text};"


def _number(number: float) -> str:
    return f"INT64_C({number})" if isinstance(number, int) else float(number).hex()


def _declarations(layout: Layout) -> str:
    """Functions of other files that the program calls, each once."""
    calls = [c for c in layout.program.calls if c.host is not None]
    lines = dict.fromkeys(_declaration(c) for c in calls)
    title = "/* Functions of your own: compile or link the files that define them as well. */"
    return "\n".join([title, *lines]) if lines else ""


def _declaration(call: KernelCall) -> str:
    function, params = c_function_of(call), call.kernel.params
    inputs = len(params) - call.kernel.outputs
    kinds = [f"const {c_type(b.dtype)} *" for b in params[:inputs]]
    kinds += [f"{c_type(b.dtype)} *" for b in params[inputs:]]
    kinds += ["void *"] if function.workspace else []
    kinds += ["int64_t" if isinstance(n, int) else "double" for n in function.numbers]
    result = "int" if function.status else "void"
    return f"{result} {function.name}({', '.join(kinds) or 'void'});"


def _call_comment(call: KernelCall) -> str:
    lines = f", from {', '.join(call.sources[:3])}" if call.sources else ""
    return f"/* {_comment(', '.join(call.nodes))}{_comment(lines)} */"


def _type_text(type: TensorType) -> str:
    """`float32[60, 10]`; a scalar has empty brackets."""
    return f"{type.dtype.name}[{', '.join(map(str, type.shape))}]"


def _comment(text: str) -> str:
    """Text that neither ends nor nests a comment, on one line."""
    plain = text.encode("ascii", "replace").decode().replace("*/", "* /").replace("/*", "/ *")
    return plain.replace("\n", " ").replace("??", "? ?").replace("\\", "/")
