"""Read a kernel's text form back: the inverse of `printer.py`.

Enters: text. Leaves: a kernel equal to the one printed. Dtypes of calls follow from their
arguments, as in `functions.result_dtype`. Blocks are indented by two spaces a level; `#` starts a
comment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pellucid.core.dtype import REAL, DType, as_dtype, bool_, float32, int64
from pellucid.core.errors import VerifyError
from pellucid.loop.functions import call
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
    LoopKind,
    Prefetch,
    Scope,
    Stmt,
    Store,
    Var,
    const,
)
from pellucid.loop.printer import INFIX

Names = Mapping[str, Buffer]
_DTYPES = {d.short: d for d in REAL if d != bool_}
_TOKEN = re.compile(
    r"\s*(\d+\.\d+(?:e[-+]?\d+)?|\d+e[-+]?\d+|\d+|[A-Za-z_]\w*|<<|>>|//|[<>=!]=|\S)"
)
_SIGNS = {sign: (fn, level) for fn, (sign, level) in INFIX.items()}
_KINDS: dict[str, LoopKind] = {
    "": "serial", "parallel ": "parallel", "vector ": "vector", "unroll ": "unroll",
}  # fmt: skip
_SCOPES: dict[str, Scope] = {"local": "local", "temp": "temp"}
_HEAD = re.compile(r"kernel ([\w.]+)\((.*)\) -> \((.*)\) \{")
_BUFFER = re.compile(r"(\w+): (\w+)\[([\d, ]*)\]")
_FOR = re.compile(r"(parallel |vector |unroll |)for (\w+) in 0\.\.(.*):")
_IF = re.compile(r"if (.*):")
_ALLOC = re.compile(r"alloc (.*) (local|temp)(:?)")
_PREFETCH = re.compile(r"prefetch (.*?)( far)?")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    depth: int
    text: str


def parse_kernel(text: str) -> Kernel:
    """The kernel that `text` describes.

    Raises:
        VerifyError: the text is not a kernel's; the message names the line.
    """
    lines = _lines(text)
    head = _HEAD.fullmatch(lines[0].text) if lines else None
    if head is None or len(lines) < 2 or lines[-1].text != "}":
        raise VerifyError("parse", "a kernel reads `kernel name(inputs) -> (outputs) { ... }`")
    inputs, outputs = (_params(part, lines[0]) for part in head.group(2, 3))
    params = inputs + outputs
    reader = _Blocks(lines[1:-1])
    body = reader.block(1, {b.name: b for b in params})
    if reader.lines:
        raise _error(reader.lines[0], "unexpected indentation")
    return Kernel(head.group(1), params, len(outputs), body)


def _lines(text: str) -> list[_Line]:
    result = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0].rstrip()
        if line:
            indent = len(line) - len(line.lstrip(" "))
            result.append(_Line(number, indent // 2, line.lstrip(" ")))
    return result


def _error(line: _Line, rule: str) -> VerifyError:
    return VerifyError("parse", f"line {line.number}: {rule}", operands={"it": repr(line.text)})


def _params(text: str, line: _Line) -> tuple[Buffer, ...]:
    parts = [p for p in re.split(r", (?=\w+: )", text) if p]
    return tuple(_buffer(part, "param", line) for part in parts)


def _buffer(text: str, scope: Scope, line: _Line) -> Buffer:
    match = _BUFFER.fullmatch(text)
    if match is None:
        raise _error(line, "a buffer reads `name: dtype[sizes]`")
    sizes = tuple(int(n) for n in match.group(3).split(",") if n.strip())
    return Buffer(match.group(1), sizes, as_dtype(match.group(2)), scope)


class _Blocks:
    """Statements from indented lines, taken off the front of `lines`."""

    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines

    def block(self, depth: int, names: Names) -> tuple[Stmt, ...]:
        """The statements at one indentation."""
        result: list[Stmt] = []
        while self.lines and self.lines[0].depth == depth and self.lines[0].text != "else:":
            line = self.lines.pop(0)
            if line.text != "pass":
                result.append(self.statement(line, names))
        return tuple(result)

    def statement(self, line: _Line, names: Names) -> Stmt:
        """One statement, its first line already taken."""
        if match := _FOR.fullmatch(line.text):
            extent = _Expressions(match.group(3), names, line).whole()
            body = self.block(line.depth + 1, names)
            return For(match.group(2), extent, body, _KINDS[match.group(1)])
        if match := _IF.fullmatch(line.text):
            return self.condition(line, match.group(1), names)
        if match := _ALLOC.fullmatch(line.text):
            buffer = _buffer(match.group(1), _SCOPES[match.group(2)], line)
            depth = line.depth + (1 if match.group(3) else 0)
            return Alloc(buffer, self.block(depth, {**names, buffer.name: buffer}))
        if match := _PREFETCH.fullmatch(line.text):
            return _prefetch(match, line, names)
        return _store(line, names)

    def condition(self, line: _Line, cond: str, names: Names) -> If:
        """An `if` with its `else`, if any."""
        then = self.block(line.depth + 1, names)
        orelse: tuple[Stmt, ...] = ()
        if self.lines and (self.lines[0].depth, self.lines[0].text) == (line.depth, "else:"):
            self.lines.pop(0)
            orelse = self.block(line.depth + 1, names)
        return If(_Expressions(cond, names, line).whole(), then, orelse)


def _prefetch(match: re.Match[str], line: _Line, names: Names) -> Prefetch:
    access = _Expressions(match.group(1), names, line).whole()
    if not isinstance(access, Load):
        raise _error(line, "a prefetch names an element")
    return Prefetch(access.buffer, access.indices, match.group(2) is None)


def _store(line: _Line, names: Names) -> Store:
    target, sign, value = line.text.partition("] = ")
    if not sign:
        raise _error(line, "expected a loop, if, alloc or store")
    access = _Expressions(target + "]", names, line).whole()
    if not isinstance(access, Load):
        raise _error(line, "only a buffer's element can be stored to")
    return Store(access.buffer, access.indices, _Expressions(value, names, line).whole())


class _Expressions:
    """One expression from text, by precedence climbing over the printer's table."""

    def __init__(self, text: str, names: Names, line: _Line) -> None:
        self.tokens = _TOKEN.findall(text)
        self.names, self.line = names, line

    def whole(self) -> Expr:
        """The expression that is the whole text."""
        result = self.infix(0)
        if self.tokens:
            raise _error(self.line, f"unexpected {self.tokens[0]!r}")
        return result

    def take(self, expected: str = "") -> str:
        """The next token, which must be `expected` where that is given."""
        if not self.tokens or (expected and self.tokens[0] != expected):
            raise _error(self.line, f"expected {expected or 'an expression'!r}")
        return str(self.tokens.pop(0))

    def infix(self, level: int) -> Expr:
        """Operators that bind at least as tightly as `level`."""
        left = self.primary()
        while self.tokens and self.tokens[0] in _SIGNS and _SIGNS[self.tokens[0]][1] >= level:
            fn, own = _SIGNS[self.take()]
            left = call(fn, left, self.infix(own + 1))
        return left

    def primary(self) -> Expr:
        """A literal, variable, access, call or parenthesis."""
        token = self.take()
        if token == "(":
            inner = self.infix(0)
            self.take(")")
            return inner
        if token == "-" or token[0].isdigit():
            return self.number(token)
        if token in ("true", "false"):
            return const(token == "true", bool_)
        following = self.tokens[0] if self.tokens else ""
        if following == "[":
            return self.access(token)
        return self.call(token) if following == "(" else Var(token)

    def number(self, token: str, dtype: DType | None = None) -> Const:
        """A literal; without a dtype int64, or float32 where it has a point or an exponent."""
        text = token + self.take() if token == "-" else token
        if dtype is not None:
            return const(float(text) if dtype.is_float else int(text), dtype)
        whole = text.lstrip("-").isdigit()
        return const(int(text), int64) if whole else const(float(text), float32)

    def access(self, name: str) -> Load:
        """`name[indices]`."""
        if name not in self.names:
            raise _error(self.line, f"unknown buffer {name!r}")
        return Load(self.names[name], self.arguments("[", "]"))

    def arguments(self, opening: str, closing: str) -> tuple[Expr, ...]:
        """Expressions between brackets."""
        self.take(opening)
        result: list[Expr] = []
        while self.tokens and self.tokens[0] != closing:
            result.append(self.infix(0))
            if self.tokens and self.tokens[0] == ",":
                self.take()
        self.take(closing)
        return tuple(result)

    def call(self, name: str) -> Expr:
        """`fn(args)`, `cast(x, dtype)` or a literal of a named dtype, `f64(0.5)`."""
        if name in _DTYPES:
            self.take("(")
            literal = self.number(self.take(), _DTYPES[name])
            self.take(")")
            return literal
        args = self.arguments("(", ")")
        if name in ("cast", "bitcast"):
            target = args[-1]
            if len(args) != 2 or not isinstance(target, Var):
                raise _error(self.line, f"{name} takes a value and a dtype")
            return Call(name, args[:1], as_dtype(target.name))
        return call(name, *args)
