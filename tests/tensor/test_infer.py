"""`infer_shapes`: result types for named sizes, errors before running, decisions; the text form."""

from __future__ import annotations

from typing import Any

import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, PellucidError, ShapeError
from pellucid.graph.key import graph_key
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph
from pellucid.graph.sizes import bind_graph
from pellucid.nn.gpt import GPT, GPTConfig
from pellucid.ops.catalogue import CATALOGUE

Tensor = pl.Tensor


def layer(x: Tensor, w: Tensor, b: Tensor) -> dict[str, Tensor]:
    h = pl.relu(x @ w + b)
    if h.shape[0] % 2 == 0:
        h = h * 2
    return {"mean": h.mean(0), "flat": pl.softmax(h, -1).reshape(-1)}


TYPES = {"x": "f32[batch, 784]", "w": "f32[784, n]", "b": "f32[n]"}


def test_types_and_decisions() -> None:
    found = pl.infer_shapes(layer, TYPES)
    assert str(found.result["flat"]) == "f32[batch*n]"
    text = str(found).splitlines()
    assert text[0].endswith("mean']: f32[n]")
    assert text[2].startswith("where batch%2 == 0 (at test_infer.py:")


def test_text_form_reads_back() -> None:
    graph = pl.infer_shapes(layer, TYPES, dims=[pl.dim("batch", min=2, max=100)]).graph
    text = print_graph(graph)
    assert text.startswith("graph inferred[batch=(2, 100), n=(0, None)](x: f32[batch, 784]")
    again = parse_graph(text, CATALOGUE)
    assert print_graph(again) == text
    assert graph_key(again) == graph_key(graph)
    other = pl.infer_shapes(layer, TYPES, dims=[pl.dim("batch", min=2, max=99)]).graph
    assert graph_key(other) != graph_key(graph)


def test_bound_graph_has_numbers() -> None:
    graph = bind_graph(pl.infer_shapes(layer, TYPES).graph, {"batch": 6, "n": 10})
    assert [str(v.type) for v in graph.outputs] == ["f32[10]", "f32[60]"]


@pytest.mark.parametrize(("fn", "rule"), [
    (lambda x, y: x + y, r"do not broadcast.*\(a, 3\) and b \(b, 3\) \(at test_infer"),
    (lambda x, y: x @ y, r"matmul: inner dims.*f32\[a, 3\].*\(at test_infer"),
    (lambda x, y: x.reshape(3, 7), r"sizes must be equal.*3\*a elements"),
])  # fmt: skip
def test_mismatches_are_found_without_running(fn: Any, rule: str) -> None:
    with pytest.raises(ShapeError, match=rule):
        pl.infer_shapes(fn, ["f32[a, 3]", "f32[b, 3]"])


def test_gpt_and_its_gradient() -> None:
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.0))
    seq = pl.dim("seq", min=1, max=8)
    tokens = ["i64[batch, seq]", "i64[batch, seq]"]
    logits, loss = pl.infer_shapes(model, tokens, dims=[seq]).result
    assert (str(logits), str(loss)) == ("f32[batch, seq, 11]", "f32[]")

    def step(w: Tensor, x: Tensor) -> Any:
        return pl.value_and_grad(lambda w: ((x @ w) ** 2).mean())(w)

    found = pl.infer_shapes(step, {"w": "f32[10, 3]", "x": "f32[2*half + 1, 10]"})
    assert str(found.result[1]) == "f32[10, 3]"
    assert not found.decisions


def test_an_unannotated_function_has_a_type_per_use() -> None:
    def twice(x: Any) -> Any:
        return x + x

    kinds = [str(pl.infer_shapes(twice, [t])) for t in ("f32[n]", "i64[2, n]")]
    assert kinds == ["f32[n]", "i64[2, n]"]
    compiled = pl.jit(twice)
    assert compiled(pl.ones(3)).dtype == pl.float32
    assert compiled(pl.ones((2, 3), dtype=pl.int64)).dtype == pl.int64
    assert compiled.explain().startswith("twice: compiled 2 time(s)")


def test_bad_types_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"a type reads f32\[batch, 784\]"):
        pl.infer_shapes(lambda x: x, ["float[3]"])


def test_loops_reach_a_fixed_point() -> None:
    def total(x: Tensor, start: Tensor) -> Any:
        return pl.scan(lambda c, t: (c + t.sum(0), c * 2), start, x)

    def powers(x: Tensor) -> Any:
        return pl.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] @ c[1]), (0, x))

    def growing(x: Tensor) -> Any:
        return pl.scan(lambda c, t: (pl.concat([c, c]), t), x, x)

    assert str(pl.infer_shapes(total, ["f32[t, b, d]", "f32[d]"]).result[1]) == "f32[t, d]"
    assert str(pl.infer_shapes(powers, ["f32[n, n]"]).result[1]) == "f32[n, n]"
    with pytest.raises(PellucidError, match=r"before f32\[n\] and after f32\[2\*n\] \(at test_inf"):
        pl.infer_shapes(growing, ["f32[n]"])
    with pytest.raises(PellucidError, match=r"equal types.*f32\[2\] and other f32\[n\]"):
        pl.infer_shapes(lambda x: pl.cond(x.sum() > 0, lambda x: x, lambda x: x[:2], x), ["f32[n]"])
