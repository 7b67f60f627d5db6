"""Every record of the catalogue against itself: types, derivatives, batching, lowering, cost.

A new record is tested by being in the catalogue. Derivatives are compared with central differences
in float64 and complex128, a complex number being moved in a random direction; where a function has
a corner the random samples miss it.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Sequence

import numpy as np
import pytest

import pellucid.ops
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.reverse import vjp_graph
from pellucid.core.errors import ArgumentError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.graph.op import Op, Sample
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.catalogue import CATALOGUE, collect
from tests.lower.execution import run_program
from tests.ops.records import (
    Array,
    Case,
    agree,
    arrays_of,
    cases,
    in_float64,
    sample_graph,
    type_of,
)

STEP = 1e-6
EXAMPLES = 3
NOT_THE_DERIVATIVE = ("stop_gradient",)  # it says 0 on purpose


def _has_float_path(op: Op, sample: Sample) -> bool:
    types = [type_of(x) for x in sample.inputs]
    made = op.infer(*types, **sample.attrs)
    outputs = made if isinstance(made, tuple) else (made,)
    return any(t.dtype.is_inexact for t in types) and any(t.dtype.is_inexact for t in outputs)


def _finite(sample: Sample) -> bool:
    return all(np.isfinite(a.astype(np.complex128)).all() for a in arrays_of(sample))


def _differentiable(op: Op, sample: Sample) -> bool:
    smooth = op.name not in NOT_THE_DERIVATIVE
    return smooth and op.vjp is not None and _has_float_path(op, sample) and _finite(sample)


ALL = cases()
SMOOTH = cases(_differentiable)
BATCHABLE = cases(lambda op, sample: op.batch is not None and len(sample.inputs) > 0)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_record_is_complete(name: str) -> None:
    op = CATALOGUE[name]
    assert op.name == name
    assert op.doc.endswith((".", ")"))
    assert op.samples()
    assert (op.vjp is None) == (op.jvp is None)


def test_two_records_of_one_name_are_refused() -> None:
    first = CATALOGUE["add"]
    other = Op(**{f: getattr(first, f) for f in Op.__dataclass_fields__})
    with pytest.raises(ArgumentError, match="two records are called 'add'"):
        collect([[first], [other]])


def test_every_record_of_every_family_is_collected() -> None:
    names = [m.name for m in pkgutil.iter_modules(pellucid.ops.__path__)]
    modules = [importlib.import_module(f"pellucid.ops.{name}") for name in names]
    records = {v for m in modules for v in vars(m).values() if isinstance(v, Op)}
    assert records == set(CATALOGUE.values())


def test_every_public_function_exists() -> None:
    for name in pellucid.ops.__all__:
        assert callable(getattr(pellucid.ops, name)), name
    assert sorted(set(pellucid.ops.__all__)) == sorted(pellucid.ops.__all__)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_type_rule_agrees_with_reference(case: Case) -> None:
    arrays = arrays_of(case.sample)
    result = case.op.reference(*arrays, **case.sample.attrs)
    made = result if isinstance(result, tuple) else (result,)
    stated = [v.type for v in sample_graph(case).outputs]
    assert [type_of(np.asarray(a)) for a in made] == stated


@pytest.mark.parametrize("case", ALL, ids=str)
def test_cost_is_not_negative(case: Case) -> None:
    graph = sample_graph(case)
    (node,) = graph.nodes
    types = [v.type for v in node.inputs], [v.type for v in node.outputs]
    cost = case.op.cost(*types, node.attrs)
    assert cost.flops >= 0
    assert cost.bytes >= 0


@pytest.mark.parametrize("case", ALL, ids=str)
def test_lowering_agrees_with_reference(case: Case) -> None:
    graph, arrays = sample_graph(case), arrays_of(case.sample)
    agree(run_program(lower_graph(graph), arrays), interpret(graph, *arrays))


@pytest.mark.parametrize("case", BATCHABLE, ids=str)
def test_batching_agrees_with_a_loop(case: Case) -> None:
    """For every choice of batched operands."""
    graph = sample_graph(case)
    for pattern in itertools.product((False, True), repeat=len(graph.inputs)):
        if any(pattern):
            _check_batching(graph, case.sample, pattern)


def _check_batching(graph: Graph, sample: Sample, pattern: Sequence[bool]) -> None:
    examples = [arrays_of(sample, seed) for seed in range(EXAMPLES)]
    for example, place in itertools.product(examples, range(len(pattern))):
        if not pattern[place]:
            example[place] = examples[0][place]
    inputs = [
        np.stack([e[i] for e in examples]) if together else examples[0][i]
        for i, together in enumerate(pattern)
    ]
    at_once = interpret(batch_graph(graph, pattern, EXAMPLES), *inputs)
    one_by_one = [interpret(graph, *example) for example in examples]
    agree(at_once, [np.stack(column) for column in zip(*one_by_one, strict=True)])


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_jvp_agrees_with_differences(case: Case) -> None:
    graph, arrays, tangents = _moving(case)
    got = _push(graph, arrays, tangents)
    moving = {i: t for i, t in zip(_places(graph), tangents, strict=True)}
    ahead, behind = (
        interpret(graph, *[a + s * moving[i] if i in moving else a for i, a in enumerate(arrays)])
        for s in (STEP, -STEP)
    )
    floats = [i for i, v in enumerate(graph.outputs) if v.dtype.is_inexact]
    for result, i in zip(got, floats, strict=True):
        expected = (ahead[i] - behind[i]) / (2 * STEP)
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_vjp_is_the_transpose_of_jvp(case: Case) -> None:
    graph, arrays, tangents = _moving(case)
    rng = np.random.default_rng(7)
    outputs = interpret(graph, *arrays)
    cotangents = [_normal(rng, y) for y in outputs if y.dtype.kind in "fc"]
    pulled = interpret(vjp_graph(graph, _places(graph)), *arrays, *outputs, *cotangents)
    pushed = _push(graph, arrays, tangents)
    assert [p.shape for p in pulled] == [t.shape for t in tangents]
    there = sum(_paired(c, p) for c, p in zip(cotangents, pushed, strict=True))
    back = sum(_paired(t, p) for t, p in zip(tangents, pulled, strict=True))
    np.testing.assert_allclose(there, back, rtol=1e-9, atol=1e-9)


def _normal(rng: np.random.Generator, like: Array) -> Array:
    """Random numbers of the array's shape and dtype (float64 or complex128)."""
    made = rng.normal(size=like.shape)
    return np.asarray(made + 1j * rng.normal(size=like.shape) if like.dtype.kind == "c" else made)


def _paired(a: Array, b: Array) -> float:
    """How much of one array lies in the other's direction, each part of complex numbers apart."""
    return float((np.conj(a) * b).sum().real)


def _moving(case: Case) -> tuple[Graph, list[Array], list[Array]]:
    graph = in_float64(case)
    values = arrays_of(case.sample)
    arrays = [a.astype(v.dtype.numpy) for a, v in zip(values, graph.inputs, strict=True)]
    rng = np.random.default_rng(5)
    return graph, arrays, [_normal(rng, arrays[i]) for i in _places(graph)]


def _places(graph: Graph) -> list[int]:
    return [i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact]


def _push(graph: Graph, arrays: Sequence[Array], tangents: Sequence[Array]) -> tuple[Array, ...]:
    active = [v.dtype.is_inexact for v in graph.inputs]
    return interpret(tangent_graph(graph, active), *arrays, *tangents)
