"""Every program of the corpus, converted and compiled, equals its eager run; one recording serves
inputs that take different branches and numbers of turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.tensor.tree import flatten
from tests.tensor.convert.corpus import algorithms, branches, corners, functions, loops
from tests.tensor.convert.corpus.program import Program

PROGRAMS = [p for part in (branches, loops, functions, algorithms, corners) for p in part.PROGRAMS]


def numbers(result: Any) -> list[Any]:
    leaves, _ = flatten(result)
    return [v.numpy() if isinstance(v, pl.Tensor) else v for v in leaves]


def check_equal(found: Any, expected: Any) -> None:
    a, b = numbers(found), numbers(expected)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        if isinstance(y, str) or y is None:
            assert x == y
        else:
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_converted_and_compiled_equals_eager(program: Program) -> None:
    jitted = pl.jit(program.fn, convert=True)
    for args in program.inputs:
        check_equal(jitted(*args), program.fn(*args))
    assert jitted.explain().count("because") == program.recordings


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_converted_alone_equals_eager(program: Program) -> None:
    converted = pl.convert(program.fn)
    for args in program.inputs:
        check_equal(converted(*args), program.fn(*args))


DIFFERENTIABLE = [p for p in PROGRAMS if p.differentiable]


def total(result: Any) -> pl.Tensor:
    """All floats of a result as one number."""
    parts = [v for v in flatten(result)[0] if isinstance(v, pl.Tensor) and v.dtype.is_float]
    return sum(((i + 1) * (p * p).sum() for i, p in enumerate(parts)), start=pl.Tensor(0.0))


def tape_gradients(program: Program, args: tuple[Any, ...]) -> list[Any]:
    own = list(args)
    for i in program.differentiable:
        own[i] = pl.Tensor(args[i], requires_grad=True)
    total(program.fn(*own)).backward()
    grads = [own[i].grad for i in program.differentiable]
    return [np.zeros(args[i].shape) if g is None else g.numpy()
            for i, g in zip(program.differentiable, grads, strict=True)]  # fmt: skip


@pytest.mark.parametrize("program", DIFFERENTIABLE, ids=lambda p: p.name)
def test_gradients_equal_those_of_the_tape(program: Program) -> None:
    fn = pl.convert(program.fn)
    gradient = pl.jit(pl.grad(lambda *args: total(fn(*args)), argnums=program.differentiable))
    for args in program.inputs:
        for found, expected in zip(gradient(*args), tape_gradients(program, args), strict=True):
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
