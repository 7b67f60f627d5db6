"""Text to graph: the reverse of `printer.py`.

Enters: text and the catalogue its op names refer to. Leaves: a `Graph` built through the ops' own
type rules, so that a parsed graph is a verified one. Errors name the line of the text.
"""

from __future__ import annotations

import ast
import base64
import binascii
import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from pellucid.core.dtype import ALL, Scalar
from pellucid.core.errors import PellucidError, VerifyError, did_you_mean
from pellucid.core.size import MOST, Dim, prove
from pellucid.core.size_input import parse_size
from pellucid.graph.ir import ArrayAttr, Attr, Graph, GraphBuilder, TensorType, Value
from pellucid.graph.op import Op
from pellucid.graph.printer import decode_elements

_REAL = r"-?(?:inf|nan|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r]+)|(?P<line>\n)|(?P<comment>\#[^\n]*)
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<number>{_REAL}[+-]{_REAL}j\b|-inf\b|-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_]\w*)|(?P<mark>//|[()\[\]{{}}:,=+*%-])""",
    re.VERBOSE | re.ASCII,
)
_DTYPES = {d.short: d for d in ALL}
_LITERALS: Mapping[str, bool | float | None] = {
    "True": True,
    "False": False,
    "None": None,
    "inf": math.inf,
    "nan": math.nan,
}
_KINDS = {"word": "a word", "number": "a number", "string": "a string", "end": "the end"}
T = TypeVar("T")


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse_graph(text: str, catalogue: Mapping[str, Op]) -> Graph:
    """The graph that `print_graph` wrote.

    Args:
        text: one graph.
        catalogue: records by name, for every op the text uses.

    Raises:
        VerifyError: the text breaks the grammar, names an unknown op or value, or states a type
            that the op's rule does not give; the message has the line number.
    """
    parser = _Parser(list(_tokens(text)), catalogue)
    graph = parser.graph()
    parser.expect("end")
    return graph


def _tokens(text: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _error(line, f"cannot read {text[place : place + 10]!r}")
        kind = match.lastgroup or ""
        if kind == "line":
            line += 1
        elif kind != "space":
            yield _Token(kind, match.group(), line)
        place = match.end()
    yield _Token("end", "the end", line)


def _error(line: int, rule: str, fix: str = "") -> VerifyError:
    return VerifyError("parse_graph", f"line {line}: {rule}", fix=fix)


class _Parser:
    def __init__(self, tokens: list[_Token], catalogue: Mapping[str, Op]) -> None:
        self.tokens, self.catalogue, self.place = tokens, catalogue, 0
        self.dims: dict[str, Dim] = {}

    # Tokens. Comments are skipped, but for a node's last, which is its source line.

    def peek(self) -> _Token:
        while self.tokens[self.place].kind == "comment":
            self.place += 1
        return self.tokens[self.place]

    def take(self) -> _Token:
        token = self.peek()
        self.place += token.kind != "end"
        return token

    def at(self, text: str) -> bool:
        token = self.peek()
        return token.text == text and token.kind in ("mark", "word")

    def expect(self, kind: str, text: str = "") -> _Token:
        token = self.take()
        if token.kind != kind or (text and token.text != text):
            raise _error(
                token.line, f"expected {repr(text) if text else _KINDS[kind]}, got {token.text!r}"
            )
        return token

    def items(self, opening: str, closing: str, item: Callable[[], T]) -> list[T]:
        """A bracketed, comma-separated list; a trailing comma is fine."""
        self.expect("mark", opening)
        found: list[T] = []
        while not self.at(closing):
            found.append(item())
            if not self.at(closing):
                self.expect("mark", ",")
        self.expect("mark", closing)
        return found

    def source(self) -> str:
        token = self.tokens[self.place]
        if token.kind != "comment" or token.line != self.tokens[self.place - 1].line:
            return ""
        return token.text[1:].strip()

    # Grammar.

    def graph(self) -> Graph:
        self.expect("word", "graph")
        name = self.take()
        if name.kind not in ("word", "string"):
            raise _error(name.line, f"expected the graph's name, got {name.text!r}")
        builder = GraphBuilder(_unquote(name) if name.kind == "string" else name.text)
        env: dict[str, Value] = {}
        if self.at("["):
            self.dims |= {d.name: d for d in self.items("[", "]", self.dim)}
        for value_name, type, line in self.items("(", ")", self.typed_name):
            _define(env, value_name, line, builder.input(type, value_name))
        self.expect("mark", "{")
        while not self.at("return"):
            self.node(builder, env)
        self.expect("word", "return")
        outputs = self.returned(env)
        return builder.finish(outputs)

    def returned(self, env: dict[str, Value]) -> list[Value]:
        outputs: list[Value] = []
        while not self.at("}"):
            outputs.append(self.value(env))
            if not self.at("}"):
                self.expect("mark", ",")
        self.expect("mark", "}")
        return outputs

    def typed_name(self) -> tuple[str, TensorType, int]:
        name = self.expect("word")
        self.expect("mark", ":")
        return name.text, self.type(), name.line

    def type(self) -> TensorType:
        word = self.expect("word")
        if word.text not in _DTYPES:
            raise _error(
                word.line, f"unknown dtype {word.text!r}", did_you_mean(word.text, _DTYPES)
            )
        return TensorType(tuple(self.items("[", "]", self.size)), _DTYPES[word.text])

    def dim(self) -> Dim:
        """`batch=(1, 4096)`: a name and its bounds."""
        name = self.expect("word").text
        self.expect("mark", "=")
        least, most = self.attr(), None
        if isinstance(least, tuple) and len(least) == 2:
            least, most = least
        most = MOST if most is None else most
        if not (isinstance(least, int) and isinstance(most, int)):
            raise _error(self.peek().line, f"expected the bounds of {name}")
        return Dim(name, least, most)

    def size(self) -> int:
        """A size: an integer, or a polynomial of dimensions."""
        words, depth = [], 0
        while depth or self.peek().text not in (",", "]", ")"):
            words.append(self.take())
            if words[-1].kind == "end":
                break
            depth += {"(": 1, ")": -1}.get(words[-1].text, 0)
        text, made = " ".join(w.text for w in words), -1
        with contextlib.suppress(PellucidError):
            made = parse_size(text, self.dims)
        if prove(made, "<", 0):
            raise _error(words[0].line, f"expected a size, got {text!r}")
        return made

    def node(self, builder: GraphBuilder, env: dict[str, Value]) -> None:
        made = [self.typed_name()]
        while self.at(","):
            self.take()
            made.append(self.typed_name())
        self.expect("mark", "=")
        op_name = self.expect("word")
        op = self.catalogue.get(op_name.text)
        if op is None:
            hint = did_you_mean(op_name.text, self.catalogue)
            raise _error(op_name.line, f"unknown op {op_name.text!r}", hint)
        inputs: list[Value] = []
        attrs: dict[str, Attr] = {}
        self.items("(", ")", lambda: self.argument(env, inputs, attrs))
        self.emit(builder, env, op, (inputs, attrs), made)

    def emit(
        self,
        builder: GraphBuilder,
        env: dict[str, Value],
        op: Op,
        arguments: tuple[list[Value], dict[str, Attr]],
        made: list[tuple[str, TensorType, int]],
    ) -> None:
        inputs, attrs = arguments
        names, types, lines = zip(*made, strict=True)
        try:
            inferred = op.infer(*(v.type for v in inputs), **attrs)
        except (PellucidError, TypeError, ValueError, LookupError) as error:
            raise _error(lines[0], f"{op.name} does not take these arguments: {error}") from error
        expected = (inferred,) if isinstance(inferred, TensorType) else inferred
        if len(expected) != len(made):
            raise _error(lines[0], f"{op.name} has {len(expected)} outputs, the text {len(made)}")
        for name, type, rule in zip(names, types, expected, strict=True):
            if type != rule:
                raise _error(lines[0], f"{name} is {rule} by {op.name}'s rule, not {type}")
        outputs = builder.emit(op, inputs, attrs, self.source(), names)
        for name, line, value in zip(names, lines, outputs, strict=True):
            _define(env, name, line, value)

    def argument(self, env: dict[str, Value], inputs: list[Value], attrs: dict[str, Attr]) -> None:
        name = self.peek()
        following = self.tokens[self.place + 1]
        if following.text != "=":
            if attrs:
                raise _error(name.line, f"operand {name.text!r} comes after an attribute")
            inputs.append(self.value(env))
            return
        self.expect("word")
        self.expect("mark", "=")
        if name.text in attrs:
            raise _error(name.line, f"attribute {name.text!r} is given twice")
        attrs[name.text] = self.attr()

    def value(self, env: dict[str, Value]) -> Value:
        name = self.expect("word")
        if name.text not in env:
            hint = did_you_mean(name.text, env)
            raise _error(name.line, f"{name.text!r} is not defined above", hint)
        return env[name.text]

    def _begins_size(self) -> bool:
        """Whether an attribute up to the next comma is a polynomial of dimensions."""
        place, depth, named = self.place, 0, False
        while self.dims and (token := self.tokens[place]).kind in ("word", "number", "mark"):
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if depth < 0 or token.text in (",", "]", "=", "}"):
                return named and not (depth and token.text == ",")
            named |= token.text in self.dims
            place += 1
        return False

    def attr(self) -> Attr:
        token = self.peek()
        if self._begins_size():
            return self.size()
        if token.text == "(":
            return tuple(self.items("(", ")", self.attr))
        if token.text == "graph" and token.kind == "word":
            return self.graph()
        if token.text == "array":
            return self.array()
        self.take()
        if token.kind == "string":
            return _unquote(token)
        if token.kind == "number":
            return _number(token.text)
        if token.text in _LITERALS:
            return _LITERALS[token.text]
        if token.text in _DTYPES:
            return _DTYPES[token.text]
        raise _error(token.line, f"{token.text!r} is no attribute value")

    def array(self) -> ArrayAttr:
        line = self.expect("word", "array").line
        self.expect("mark", "(")
        type = self.type()
        self.expect("mark", ",")
        try:
            if self.at("["):
                words = self.items("[", "]", lambda: self.take().text)
                flat = decode_elements(words, type.dtype.numpy)
            else:
                data = base64.b64decode(_unquote(self.expect("string")), validate=True)
                flat = np.frombuffer(data, type.dtype.numpy)
            array = flat.reshape(type.shape)
        except (ValueError, KeyError, OverflowError, binascii.Error) as error:
            raise _error(line, f"the elements do not make {type}: {error}") from error
        self.expect("mark", ")")
        return ArrayAttr(array)


def _define(env: dict[str, Value], name: str, line: int, value: Value) -> None:
    if name in env:
        raise _error(line, f"{name!r} is defined twice")
    env[name] = value


def _unquote(token: _Token) -> str:
    try:
        return str(ast.literal_eval(token.text))
    except (SyntaxError, ValueError) as error:
        raise _error(token.line, f"bad string {token.text}") from error


def _number(text: str) -> Scalar:
    if text.endswith("j"):
        return complex(text)
    return int(text) if text.lstrip("-").isdigit() else float(text)
