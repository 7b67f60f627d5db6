"""What a program of the corpus is: a function, inputs that take different ways through it, and how
often it may be recorded for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pellucid as pl


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        fn: the function.
        inputs: arguments of each call.
        recordings: compiled programs that serve all calls.
        differentiable: positions of arguments whose gradients are compared.
    """

    fn: Callable[..., Any]
    inputs: tuple[tuple[Any, ...], ...]
    recordings: int
    differentiable: tuple[int, ...]

    @property
    def name(self) -> str:
        """For test reports."""
        return self.fn.__name__


class Corpus(list[Program]):
    """The programs of one file."""

    def add(
        self, *inputs: Sequence[Any], recordings: int = 1, wrt: Sequence[int] = ()
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator that lists a function with its inputs and leaves it as it is."""

        def note(fn: Callable[..., Any]) -> Callable[..., Any]:
            self.append(Program(fn, tuple(map(tuple, inputs)), recordings, tuple(wrt)))
            return fn

        return note


def t(*values: float) -> pl.Tensor:
    """A vector."""
    return pl.Tensor([float(v) for v in values])


def s(value: float) -> pl.Tensor:
    """A tensor without axes."""
    return pl.Tensor(float(value))


def n(value: int) -> pl.Tensor:
    """A whole number as a tensor."""
    return pl.Tensor(value, "int64")


def rows(count: int, width: int, seed: int = 0) -> pl.Tensor:
    """A matrix of normal numbers."""
    return pl.Tensor(np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32))
