"""Random functions of plain Python control flow on whole numbers, as source text.

Every variable has a value from the start, and every loop ends, so that each program must be
converted and must give what it gives in Python.
"""

from __future__ import annotations

import random

_INDENT = "    "
_NAMES = ("a", "b", "c", "d")


class Writer:
    """Writes one program.

    Args:
        seed: which.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lines: list[str] = []
        self._loops = 0
        self._left = 14  # statements that may still be written

    def program(self) -> str:
        """The text of `def program(a, b, xs)`."""
        self._lines = ["def program(a, b, xs):"]
        for line in (
            "a, b = a.clone(), b.clone()",
            "c = 1",
            "d = a - b",
            "items = [a + 0, b + 0]",
            "box = {'n': 0}",
        ):
            self._write(1, line)
        self._block(1, loop=False)
        self._write(1, "return a, b, c, d, items[0], items[1], box['n']")
        return "\n".join(self._lines) + "\n"

    def _write(self, depth: int, text: str) -> None:
        self._lines.append(_INDENT * depth + text)

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _name(self) -> str:
        return self._pick(*_NAMES)

    def _expression(self) -> str:
        x, y, k = self._name(), self._name(), self._random.randint(1, 9)
        return self._pick(
            f"({x} + {y}) % 97", f"{x} - {k}", f"({x} * {k}) % 89", f"abs({x} - {y})", f"{k}",
            f"({x} if {self._condition()} else {y})", f"max({x}, {y}) - {k}", f"items[0] - {x}",
            f"box['n'] + {k}", f"-{x} // {k}",
        )  # fmt: skip

    def _condition(self) -> str:
        x, y, k = self._name(), self._name(), self._random.randint(-20, 20)
        simple = self._pick(
            f"{x} > {k}", f"{x} % 3 == {abs(k) % 3}", f"{x} <= {y}", f"not {x} < {y}",
            f"{k} < {x} < {abs(k) + 9}", f"{x} in ({k}, {k + 1}, 3)", f"len(items) > {abs(k) % 4}",
        )  # fmt: skip
        if self._random.random() < 0.3:
            return f"{simple} {self._pick('and', 'or')} {self._condition()}"
        return simple

    def _block(self, depth: int, loop: bool) -> None:
        for _ in range(self._random.randint(1, 3)):
            self._statement(depth, loop)

    def _statement(self, depth: int, loop: bool) -> None:
        self._left -= 1
        compound = depth < 5 and self._left > 0 and self._random.random() < 0.55
        if compound:
            self._random.choice([self._if, self._if, self._while, self._for])(depth, loop)
        else:
            self._simple(depth, loop)

    def _simple(self, depth: int, loop: bool) -> None:
        choices = [
            f"{self._name()} = {self._expression()}",
            f"{(x := self._name())} = {x} + {self._random.randint(1, 5)}",
            f"{self._name()}, {self._name()} = {self._expression()}, {self._expression()}",
            f"items[{self._random.randint(0, 1)}] = {self._expression()}",
            f"box['n'] += {self._random.randint(1, 3)}",
        ]
        if depth > 1:
            choices += ["return d, c, b, a, items[1], items[0], box['n']"]
        if loop and depth > 2:
            choices += ["break", "continue", "break", "continue"]
        self._write(depth, self._random.choice(choices))

    def _if(self, depth: int, loop: bool) -> None:
        self._write(depth, f"if {self._condition()}:")
        self._block(depth + 1, loop)
        if self._random.random() < 0.3:
            self._write(depth, f"elif {self._condition()}:")
            self._block(depth + 1, loop)
        if self._random.random() < 0.5:
            self._write(depth, "else:")
            self._block(depth + 1, loop)

    def _while(self, depth: int, loop: bool) -> None:
        self._loops += 1
        counter = f"n{self._loops}"
        self._write(depth, f"{counter} = 0")
        test = self._pick(self._condition(), "True", f"{self._name()} > {counter}")
        self._write(depth, f"while {counter} < {self._random.randint(1, 5)} and ({test}):")
        self._write(depth + 1, f"{counter} += 1")
        self._block(depth + 1, True)
        self._else(depth, loop)

    def _for(self, depth: int, loop: bool) -> None:
        self._loops += 1
        name, x = f"i{self._loops}", self._name()
        target, source = self._random.choice(
            [
                (name, f"range({self._random.randint(0, 3)})"),
                (name, f"range({x} % 5)"),
                (name, f"range({x} % 4, 7, {self._random.randint(1, 3)})"),
                (name, "xs"),
                (name, "xs[:3]"),
                (f"{name}, {self._name()}", "enumerate(xs)"),
                (f"{name}, {self._name()}", "zip(xs, xs[::-1])"),
                (self._name(), "(a, 3, b)"),
            ]
        )
        self._write(depth, f"for {target} in {source}:")
        if target.startswith(name):
            self._write(depth + 1, f"{self._name()} = ({name} + {self._name()}) % 101")
        self._block(depth + 1, True)
        self._else(depth, loop)

    def _else(self, depth: int, loop: bool) -> None:
        if self._random.random() < 0.2:
            self._write(depth, "else:")
            self._block(depth + 1, loop)
