"""Loop kernels as portable C99, for export: no heap, no variable-length arrays, no threads.

Enters: kernels. Leaves: one C text with the helpers they need and a function per kernel, `void
symbol(const float *restrict a, ..., [unsigned char *restrict scratch])`. Parallel, vector and
unrolled loops are plain loops: the C compiler decides. Weights, arena and `main` belong to
`deploy/`. float16, bfloat16 and float8 have no C99 type and are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from pellucid.codegen.c99_helpers import (
    COMPARISONS,
    bitcast_name,
    bitcast_text,
    c_type,
    has_helper,
    helper_name,
    helper_text,
    real_suffix,
    saturate_name,
    saturate_text,
    wrap_type,
)
from pellucid.codegen.llvm_vectorize import expressions, stored_names
from pellucid.core.dtype import DType, bool_, int64
from pellucid.core.errors import LoweringError
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    Prefetch,
    Stmt,
    Store,
    Var,
)

_HEADER = "#include <math.h>\n#include <stdint.h>\n#include <string.h>\n"
_ALIGN = 16
_STACK_BYTES = 4096
_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^",
} | COMPARISONS  # fmt: skip
# Names that <math.h> has under another name than ours.
_MATH = {"round": "rint", "abs": "fabs", "max": "", "min": ""} | {
    name: name
    for name in (
        "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tan",
        "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "floor",
        "ceil", "trunc", "pow", "atan2", "fma",
    )
}  # fmt: skip
_RESERVED = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while scratch main y0 y1 yn j0 j1 jn gamma signgam""".split()
) | frozenset(_MATH)


def c_scratch_bytes(kernel: Kernel) -> int:
    """Bytes of scratch memory (aligned to 16) that the kernel's C function takes as last argument.

    0 means that there is no such argument.
    """
    return _scratch(kernel.body)


def _scratch(body: tuple[Stmt, ...]) -> int:
    most = 0
    for stmt in body:
        own = _own_scratch(stmt.buffer) if isinstance(stmt, Alloc) else 0
        if isinstance(stmt, If):
            most = max(most, _scratch(stmt.then), _scratch(stmt.orelse))
        elif isinstance(stmt, For | Alloc):
            most = max(most, own + _scratch(stmt.body))
    return most


def _own_scratch(buffer: Buffer) -> int:
    small = buffer.scope == "local" and buffer.nbytes <= _STACK_BYTES
    return 0 if small else -(-buffer.nbytes // _ALIGN) * _ALIGN


def render_kernel_c(kernel: Kernel, symbol: str | None = None) -> str:
    """One kernel as a C file; `symbol` defaults to its name.

    Raises:
        LoweringError: a dtype C99 has no type for, or an unknown function.
    """
    return render_kernels_c({symbol or kernel.name: kernel})


def render_kernels_c(kernels: Mapping[str, Kernel]) -> str:
    """Several kernels by symbol in one C file, helpers shared.

    Raises:
        LoweringError: a dtype C99 has no type for, or an unknown function.
    """
    return f"{_HEADER}\n{render_functions_c(kernels)}"


def render_functions_c(kernels: Mapping[str, Kernel], *, static: bool = False) -> str:
    """The same without the `#include` lines, for a file that has its own.

    Args:
        kernels: by symbol.
        static: keep the functions to the file they are printed in.

    Raises:
        LoweringError: a dtype C99 has no type for, or an unknown function.
    """
    helpers: dict[str, str] = {}
    prefix = "static " if static else ""
    functions = [prefix + _Printer(k, helpers).function(name) for name, k in kernels.items()]
    return "\n".join(f"{text}\n" for text in (*helpers.values(), *functions))


def literal_c(value: float, dtype: DType) -> str:
    """A C constant of exactly this value, NaN, infinities and the least integers included.

    `dtype` is one C99 has a type for.
    """
    if dtype.is_float:
        return _real(float(value), dtype)
    if dtype == bool_:
        return str(int(value))
    if dtype == int64 and abs(int(value)) < 1 << 31:
        return f"INT64_C({int(value)})" if value < 0 else str(int(value))
    if dtype.kind == "int" and value == -(1 << (dtype.bits - 1)):
        return f"INT{dtype.bits}_MIN"
    macro = f"{'U' if dtype.kind == 'uint' else ''}INT{dtype.bits}_C({abs(int(value))})"
    return f"(-{macro})" if value < 0 else macro


class _Printer:
    """Prints one kernel; `helpers` collects what it calls."""

    def __init__(self, kernel: Kernel, helpers: dict[str, str]) -> None:
        self.kernel, self.helpers = kernel, helpers
        self.names: dict[str, str] = {}
        self.touched: set[str] = set()
        self.lines: list[str] = []
        self.depth, self.scratch = 1, 0

    def function(self, symbol: str) -> str:
        """The whole function."""
        written = stored_names(self.kernel.body)
        params = [
            f"{'' if b.name in written else 'const '}{self.kind(b.dtype)} *restrict "
            f"{self.name(b.name)}"
            for b in self.kernel.params
        ]
        if c_scratch_bytes(self.kernel):
            params.append("unsigned char *restrict scratch")
        self.block(self.kernel.body)
        head = f"void {symbol}({', '.join(params) or 'void'}) {{"
        idle = [p.name for p in self.kernel.params if p.name not in self.touched]
        return "\n".join([head, *(f"  (void){self.name(n)};" for n in idle), *self.lines, "}"])

    def kind(self, dtype: DType) -> str:
        """The C type, or an error."""
        if dtype.is_float and dtype.bits < 32:
            raise LoweringError(
                "c99", f"C99 has no type for {dtype}", operands={"kernel": self.kernel.name},
                fix="cast the model to float32 before exporting",
            )  # fmt: skip
        return c_type(dtype)

    def name(self, name: str) -> str:
        """A C identifier, the same for the same name."""
        if name not in self.names:
            text = re.sub(r"\W", "_", name, flags=re.ASCII)
            if text in _RESERVED or not text or text[0].isdigit() or text[0] == "_":
                text = f"v_{text}"
            while text in self.names.values():
                text += "_"
            self.names[name] = text
        return self.names[name]

    def line(self, text: str) -> None:
        """One line at the current depth."""
        self.lines.append("  " * self.depth + text)

    # --- statements -------------------------------------------------------------------------------

    def block(self, body: tuple[Stmt, ...]) -> None:
        """All statements in order."""
        for stmt in body:
            match stmt:
                case Store(buffer, indices, value):
                    self.line(f"{self.element(buffer, indices)} = {self.value(value)};")
                case For(var, extent, inner):
                    name = self.name(var)
                    end = self.index(extent)
                    self.line(f"for (int64_t {name} = 0; {name} < {end}; ++{name}) {{")
                    self.indented(inner)
                case If(cond, then, orelse):
                    # clang warns of if ((a == b)), for a mistyped if ((a = b))
                    self.line(f"if ({_bare(self.value(cond))}) {{")
                    self.indented(then, last=not orelse)
                    if orelse:
                        self.line("} else {")
                        self.indented(orelse)
                case Prefetch():
                    pass
                case Alloc(buffer, inner):
                    self.line("{")
                    self.alloc(buffer, inner)

    def indented(self, body: tuple[Stmt, ...], last: bool = True) -> None:
        """A block one level deeper, closed when `last`."""
        self.depth += 1
        self.block(body)
        self.depth -= 1
        if last:
            self.line("}")

    def alloc(self, buffer: Buffer, body: tuple[Stmt, ...]) -> None:
        """A stack array, or a part of the scratch memory."""
        kind, name, top = self.kind(buffer.dtype), self.name(buffer.name), self.scratch
        size = _own_scratch(buffer)
        declared = f"{kind} {name}[{max(1, buffer.size)}];"
        if size:
            declared = f"{kind} *{name} = ({kind} *)(void *)(scratch + {top});"
        self.scratch += size
        self.depth += 1
        self.line(declared)
        self.depth -= 1
        self.indented(body)
        self.scratch = top

    # --- expressions ------------------------------------------------------------------------------

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """One element, row-major."""
        offset, step = [], 1
        for size, index in zip(reversed(buffer.shape), reversed(indices), strict=True):
            text = self.index(index)
            if text != "0":
                offset.append(text if step == 1 else f"{text} * {step}")
            step *= size
        self.touched.add(buffer.name)
        return f"{self.name(buffer.name)}[{' + '.join(reversed(offset)) or '0'}]"

    def index(self, expr: Expr) -> str:
        """Index arithmetic, which never overflows, so plain operators print it."""
        if isinstance(expr, Const):
            small = -(1 << 31) < expr.value < 1 << 31
            return str(int(expr.value)) if small else f"INT64_C({int(expr.value)})"
        if isinstance(expr, Call) and expr.dtype == int64 and len(expr.args) == 2:
            a, b = (self.index(x) for x in expr.args)
            if expr.fn in ("add", "sub", "mul"):
                return f"({a} {_OPERATORS[expr.fn]} {b})"
            if expr.fn in ("floordiv", "mod") and _plain_division(expr):
                return f"({a} {'/' if expr.fn == 'floordiv' else '%'} {b})"
            if has_helper(expr.fn):
                return f"{self.helper(expr.fn, int64)}({a}, {b})"
        return self.value(expr)

    def value(self, expr: Expr) -> str:
        """Any expression, of the C type of its dtype (bool: an int that is 0 or 1)."""
        match expr:
            case Const(value, dtype):
                return self.literal(value, dtype)
            case Var(name):
                return self.name(name)
            case Load(buffer, indices):
                text = self.element(buffer, indices)
                return f"({text} != 0)" if buffer.dtype == bool_ else text
            case Call(fn, args, dtype):
                return self.call(fn, args, dtype)

    def literal(self, value: float, dtype: DType) -> str:
        """A constant of exactly the dtype's value."""
        self.kind(dtype)
        return literal_c(value, dtype)

    def helper(self, fn: str, dtype: DType) -> str:
        """The name of a helper, which is printed with the file."""
        name = helper_name(fn, dtype)
        if name not in self.helpers:
            self.helpers[name] = helper_text(fn, dtype)
        return name

    def call(self, fn: str, args: tuple[Expr, ...], dtype: DType) -> str:
        """A function of the loop IR."""
        self.kind(dtype)
        source = args[0].dtype
        if fn in COMPARISONS and source == int64 and not any(_reads(a) for a in args):
            a, b = (self.index(x) for x in args)
            if a != b:
                return f"({a} {_OPERATORS[fn]} {b})"
        values = [self.value(a) for a in args]
        if fn in COMPARISONS and not source.is_float and _tells(args):
            return f"{self.helper(fn, source)}({', '.join(values)})"
        if fn == "select":
            return f"({values[0]} ? {values[1]} : {values[2]})"
        if fn in ("cast", "bitcast"):
            return self.conversion(fn, values[0], source, dtype)
        if source.is_float:
            return self.float_call(fn, values, source)
        return self.integer_call(fn, values, source)

    def conversion(self, fn: str, value: str, source: DType, dtype: DType) -> str:
        """`cast` or `bitcast`."""
        if source == dtype:
            return value
        if fn == "bitcast":
            name = bitcast_name(source, dtype)
            self.helpers.setdefault(name, bitcast_text(source, dtype))
            return f"{name}({value})"
        if dtype == bool_:
            return f"({value} != 0)"
        if source.is_float and dtype.is_integer:
            name = saturate_name(source, dtype)
            self.helpers.setdefault(name, saturate_text(source, dtype))
            return f"{name}({value})"
        return f"({c_type(dtype)})({value})"

    def float_call(self, fn: str, values: list[str], dtype: DType) -> str:
        """A function on float or double."""
        if fn in _OPERATORS:
            return f"({values[0]} {_OPERATORS[fn]} {values[1]})"
        one = _real(1.0, dtype)
        special = {
            "neg": f"(-{values[0]})",
            "rsqrt": f"({one} / sqrt{real_suffix(dtype)}({values[0]}))",
            "isnan": f"(isnan({values[0]}) != 0)",
            "isinf": f"(isinf({values[0]}) != 0)",
        }
        if fn in special:
            return special[fn]
        if _MATH.get(fn):
            return f"{_MATH[fn]}{real_suffix(dtype)}({', '.join(values)})"
        return self.helper_call(fn, values, dtype)

    def integer_call(self, fn: str, values: list[str], dtype: DType) -> str:
        """A function on an integer type or bool."""
        if dtype == bool_:
            fn = {"max": "or", "min": "and"}.get(fn, fn)
            if fn == "not":
                return f"(!{values[0]})"
        kind, wrap = c_type(dtype), wrap_type(dtype)
        if fn in ("add", "sub", "mul"):
            a, b = values
            return f"({kind})(({wrap})({a}) {_OPERATORS[fn]} ({wrap})({b}))"
        if fn in _OPERATORS:
            # clang takes a call behind & or | of bools for a mistyped && or ||
            calls = dtype == bool_ and re.search(r"\w\(", values[1])
            text = f"({values[0]} {_OPERATORS[fn]} {'(int)' if calls else ''}{values[1]})"
            return text if fn in COMPARISONS or dtype == bool_ else f"({kind}){text}"
        if fn == "neg":
            return f"({kind})(({wrap})0 - ({wrap})({values[0]}))"
        if fn == "not":
            return f"({kind})(~{values[0]})"
        if fn in ("floor", "ceil", "round", "trunc") or (fn == "abs" and dtype.kind == "uint"):
            return values[0]
        return self.helper_call(fn, values, dtype)

    def helper_call(self, fn: str, values: list[str], dtype: DType) -> str:
        """A call of one of our own helpers."""
        if not has_helper(fn):
            raise LoweringError(
                "c99", f"no C for function {fn} on {dtype}", operands={"kernel": self.kernel.name}
            )
        return f"{self.helper(fn, dtype)}({', '.join(values)})"


def _real(value: float, dtype: DType) -> str:
    """A float constant; hexadecimal, so that no digit is lost."""
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    value = float(dtype.numpy.type(value))
    if math.isinf(value):
        return _real(value, dtype)
    if value == int(value) and abs(value) < 1e6 and math.copysign(1, value) > 0:
        return f"{int(value)}.0{real_suffix(dtype)}"
    digits, power = value.hex().split("p")
    text = f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}p{power}"
    text += real_suffix(dtype)
    return f"({text})" if text.startswith("-") else text


def _tells(args: tuple[Expr, ...]) -> bool:
    """Whether a compiler might see, and warn, that a comparison always has the same result."""
    return args[0] == args[1] or any(isinstance(a, Const) for a in args)


def _bare(text: str) -> str:
    """Without the parentheses around the whole."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if text[0] == "(" and place == len(text) - 1 else text
    return text


def _reads(expr: Expr) -> bool:
    """True when data takes part, whose sums may wrap as index arithmetic never does."""
    return any(isinstance(e, Load) for e in expressions(expr))


def _plain_division(expr: Call) -> bool:
    """True for a non-negative number by a positive constant, where C's division is the floor."""
    divisor = expr.args[1]
    return isinstance(divisor, Const) and divisor.value > 0 and _natural(expr.args[0])


def _natural(expr: Expr) -> bool:
    if isinstance(expr, Const):
        return expr.value >= 0
    if isinstance(expr, Var):
        return True
    natural = ("add", "mul", "floordiv", "mod", "min", "max")
    if isinstance(expr, Call) and expr.fn in natural:
        return all(_natural(a) for a in expr.args)
    return False
