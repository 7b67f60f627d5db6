"""Textual LLVM IR, one function at a time, with hoisting and value numbering built in.

Enters: instruction texts. Leaves: a module's text. A function under construction is a stack of open
regions (the entry, a loop's body, a branch). A pure instruction goes into the outermost open region
that has all its operands, and an instruction already there is reused, so address arithmetic and
other loop invariants leave their loops as they are written and the short LLVM pass list needs
neither LICM nor GVN. This works because the region around an open loop is still open at its end:
what is appended there lands in the loop's preheader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

_OPERAND = re.compile(r"%[\w.]+")
_DECLARED = re.compile(r"@([\w.]+)")


@dataclass(slots=True)
class Region:
    """Straight-line text under construction: its lines, the block they end in, its known values."""

    label: str
    lines: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)
    # False where the region may be skipped although the code before it ran: a load must not leave
    # it.
    certain: bool = True


class Module:
    """Functions, helper functions and declarations, each kept once."""

    def __init__(self) -> None:
        self._declares: dict[str, str] = {}
        self._functions: dict[str, str] = {}
        self._metadata: dict[str, str] = {}
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A name not used before in this module."""
        self._count += 1
        return f"{stem}{self._count}"

    def declare(self, signature: str) -> None:
        """Declares an external function, e.g. `float @tanf(float)`; repeating it does nothing."""
        found = _DECLARED.search(signature)
        self._declares[found.group(1) if found else signature] = signature

    def metadata(self, text: str) -> str:
        """The name of a node of metadata, e.g. `!{i32 1}`, which is kept once."""
        return self._metadata.setdefault(text, f"!{len(self._metadata)}")

    def define(self, name: str, text: str) -> None:
        """Adds a whole function; a second one of the same name is ignored."""
        self._functions.setdefault(name, text)

    def text(self) -> str:
        """The module as LLVM IR."""
        declares = "\n".join(
            f"declare {text}"
            for name, text in self._declares.items()
            if name not in self._functions
        )
        nodes = "\n".join(f"{name} = {text}" for text, name in self._metadata.items())
        return "\n\n".join(filter(None, (declares, *self._functions.values(), nodes))) + "\n"


class Function:
    """One function being written; the module's docstring says where instructions go."""

    def __init__(
        self, module: Module, name: str, params: str, attributes: str, result: str = "void"
    ) -> None:
        self.module = module
        self.name = name
        self.result = result
        self._head = f"{result} @{name}({params}) {attributes}"
        self._count = 0
        self._regions = [Region("entry")]
        self._levels: dict[str, int] = {}
        self._allocas: list[str] = []

    @property
    def level(self) -> int:
        """The depth of the innermost open region; the entry is 0."""
        return len(self._regions) - 1

    @property
    def certain_level(self) -> int:
        """The outermost region from which the current point is sure to be reached."""
        level = self.level
        while level and self._regions[level].certain:
            level -= 1
        return level

    def fresh(self, stem: str) -> str:
        """A name not used before in this function, without its sigil."""
        self._count += 1
        return f"{stem}{self._count}"

    def level_of(self, text: str) -> int:
        """The depth of the innermost region that `text` takes a value from."""
        levels = self._levels
        return max((levels.get(name, 0) for name in _OPERAND.findall(text)), default=0)

    def pure(self, text: str, floor: int = 0, key: str = "") -> str:
        """The value of an instruction without side effects, as far out as its operands (and
        `floor`) allow.

        `key` stands for `text` when looking for an earlier equal value; loads add their memory's
        version to it.
        """
        level = max(self.level_of(text), floor)
        region = self._regions[level]
        key = key or text
        name = region.known.get(key)
        if name is None:
            name = f"%{self.fresh('v')}"
            region.lines.append(f"  {name} = {text}")
            region.known[key] = name
            self._levels[name] = level
        return name

    def remember(self, key: str, name: str) -> None:
        """Makes `name` the value of `key` in the current region."""
        self._regions[-1].known[key] = name

    def emit(self, text: str) -> str:
        """The value of an instruction that must stay where it is."""
        name = f"%{self.fresh('v')}"
        self._regions[-1].lines.append(f"  {name} = {text}")
        self._levels[name] = self.level
        return name

    def effect(self, text: str) -> None:
        """An instruction without a value."""
        self._regions[-1].lines.append(f"  {text}")

    def alloca(self, kind: str, align: int) -> str:
        """Stack memory of LLVM type `kind`, allocated once on entry."""
        name = f"%{self.fresh('a')}"
        self._allocas.append(f"  {name} = alloca {kind}, align {align}")
        return name

    def intrinsic(self, result: str, name: str, *args: tuple[str, str]) -> str:
        """A pure call of an intrinsic or libm function; `args` are (type, value)."""
        self.module.declare(f"{result} @{name}({', '.join(kind for kind, _ in args)})")
        return self.pure(f"call {result} @{name}({', '.join(f'{k} {v}' for k, v in args)})")

    @contextmanager
    def loop(self, extent: str, *, begin: str = "0", step: str = "1", sure: bool) -> Iterator[str]:
        """A counted loop from `begin` while below `extent`; yields the counter.

        `sure` says that it runs at least once; otherwise a test guards it.
        """
        tag = self.fresh("")
        counter, body, done = f"%i{tag}", f"body{tag}", f"done{tag}"
        self._regions.append(Region(body, certain=sure))
        self._levels[counter] = self.level
        yield counter
        inner = self._regions.pop()
        outer = self._regions[-1]
        if sure:
            outer.lines.append(f"  br label %{body}")
        else:
            some = self.emit(f"icmp slt i64 {begin}, {extent}")
            outer.lines.append(f"  br i1 {some}, label %{body}, label %{done}")
        following = f"%n{tag}"
        outer.lines += [
            f"{body}:",
            f"  {counter} = phi i64 [ {begin}, %{outer.label} ], [ {following}, %{inner.label} ]",
            *inner.lines,
            f"  {following} = add nuw nsw i64 {counter}, {step}",
            f"  %c{tag} = icmp slt i64 {following}, {extent}",
            f"  br i1 %c{tag}, label %{body}, label %{done}",
            f"{done}:",
        ]
        outer.label = done

    def branch(
        self, condition: str, then: Callable[[], None], orelse: Callable[[], None] | None = None
    ) -> None:
        """Runs `then` where the i1 `condition` holds, `orelse` where it does not."""
        tag = self.fresh("")
        sides = [(f"then{tag}", then)] + ([(f"else{tag}", orelse)] if orelse else [])
        lines = []
        for label, build in sides:
            self._regions.append(Region(label, certain=False))
            build()
            lines += [f"{label}:", *self._regions.pop().lines, f"  br label %join{tag}"]
        outer = self._regions[-1]
        other = sides[1][0] if orelse else f"join{tag}"
        outer.lines += [f"  br i1 {condition}, label %then{tag}, label %{other}", *lines]
        outer.lines.append(f"join{tag}:")
        outer.label = f"join{tag}"

    def switch(self, value: str, cases: Sequence[Callable[[], None]]) -> None:
        """Runs the case whose position the i32 `value` is; none where there is no such case."""
        tag = self.fresh("")
        lines = []
        for number, build in enumerate(cases):
            label = f"case{number}_{tag}"
            self._regions.append(Region(label, certain=False))
            build()
            lines += [f"{label}:", *self._regions.pop().lines, f"  br label %join{tag}"]
        outer = self._regions[-1]
        labels = " ".join(f"i32 {k}, label %case{k}_{tag}" for k in range(len(cases)))
        outer.lines += [f"  switch i32 {value}, label %join{tag} [ {labels} ]", *lines]
        outer.lines.append(f"join{tag}:")
        outer.label = f"join{tag}"

    def repeat(self, condition: Callable[[], str], body: Callable[[], None]) -> None:
        """Runs `body` again and again as long as the i1 that `condition` writes holds."""
        tag = self.fresh("")
        head, inner = Region(f"head{tag}"), Region(f"turn{tag}", certain=False)
        self._regions.append(head)
        holds = condition()
        self._regions.append(inner)
        body()
        del self._regions[-2:]
        outer = self._regions[-1]
        outer.lines += [
            f"  br label %head{tag}",
            f"head{tag}:",
            *head.lines,
            f"  br i1 {holds}, label %turn{tag}, label %done{tag}",
            f"turn{tag}:",
            *inner.lines,
            f"  br label %head{tag}",
            f"done{tag}:",
        ]
        outer.label = f"done{tag}"

    def leave(self, condition: str) -> None:
        """Ends the function (one that returns nothing) where the i1 `condition` holds."""
        tag = self.fresh("")
        region = self._regions[-1]
        region.lines += [
            f"  br i1 {condition}, label %leave{tag}, label %stay{tag}",
            f"leave{tag}:",
            "  ret void",
            f"stay{tag}:",
        ]
        region.label = f"stay{tag}"

    def finish(self, linkage: str = "", result: str = "") -> None:
        """Ends the function, which returns `result` or nothing, and adds it to the module."""
        end = f"  ret {self.result} {result}".rstrip()
        body = "\n".join([*self._allocas, *self._regions[0].lines, end])
        prefix = f"define {linkage} " if linkage else "define "
        self.module.define(self.name, f"{prefix}{self._head} {{\nentry:\n{body}\n}}")
