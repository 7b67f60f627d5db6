"""Checkpoints: policies, budgets of bytes, and the square root of FE-8 in compiled steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError
from pellucid.graph.ir import Graph, Value
from pellucid.graph.stats import op_counts
from pellucid.passes import inline_calls
from pellucid.tensor.keep import Program, choose, total
from tests.random_graphs import random_graph

WIDTH = 32
SQUARE = WIDTH * WIDTH * 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32)
MATRIX = pl.Parameter(RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 6)


def layer(x: Any) -> Any:
    return pl.tanh(x @ MATRIX)


def deep(count: int) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        for _ in range(count):
            x = layer(x)
        return x

    return run


def gradient(f: Any) -> Any:
    """A jitted gradient, which also returns the value, so that the forward run is needed too."""
    return pl.jit(pl.value_and_grad(lambda x: f(x).sum()))


def counts(f: Any) -> dict[str, int]:
    graph = gradient(f).lower(pl.Tensor(X)).graph
    return op_counts(inline_calls.run(graph))


# FE-8 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [25, 100])
def test_the_peak_falls_to_two_square_roots(count: int) -> None:
    """Of the arena of the compiled step, for one more forward run at most, bit for bit the same."""
    x = pl.Tensor(X)
    plain, saving = gradient(deep(count)), gradient(pl.checkpoint_sequential([layer] * count))
    peaks = [f.lower(x).memory.peak / SQUARE for f in (plain, saving)]
    root = math.isqrt(count)
    assert peaks[0] >= count
    assert peaks[1] <= 2 * root
    for a, b in zip(plain(x), saving(x), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    one = op_counts(plain.lower(x).graph)["tanh"]
    assert counts(pl.checkpoint_sequential([layer] * count))["tanh"] == 2 * one - root


def test_the_tape_agrees() -> None:
    x, y = (pl.Tensor(X, requires_grad=True) for _ in range(2))
    deep(9)(x).sum().backward()
    pl.checkpoint_sequential(pl.nn.Sequential(*[pl.nn.Identity()] * 9), 2)(x)
    pl.checkpoint_sequential([layer] * 9)(y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


# policies ----------------------------------------------------------------------------------------


def block(x: Any) -> Any:
    hidden = pl.checkpoint_name(pl.tanh(x @ MATRIX), "hidden")
    scores = pl.exp(hidden @ hidden.T * 0.01)
    each = scores.reshape((2, 16, WIDTH)) @ hidden.reshape((2, WIDTH, 16))
    return pl.sin(pl.sin(each).reshape((WIDTH, -1)) @ MATRIX[:16])


AGAIN = {  # what runs twice
    "nothing": {"tanh": 2, "exp": 2, "dot_general": 8},
    "everything": {"tanh": 1, "exp": 1, "dot_general": 4},
    "dots": {"tanh": 2, "exp": 2, "dot_general": 4},
    "dots_without_batch": {"tanh": 2, "exp": 2, "dot_general": 5},
}


@pytest.mark.parametrize("policy", AGAIN)
def test_policies_by_name(policy: Any) -> None:
    saving = pl.checkpoint(block, policy=policy)
    plain, found = counts(block), counts(saving)
    products = plain["dot_general"] - 4  # of the backward run
    assert found["tanh"] == AGAIN[policy]["tanh"]
    assert found["exp"] == AGAIN[policy]["exp"]
    assert found["dot_general"] - products == AGAIN[policy]["dot_general"]
    _same_results(saving)


def _same_results(saving: Any) -> None:
    for a, b in zip(gradient(block)(pl.Tensor(X)), gradient(saving)(pl.Tensor(X)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-5)
    x, y = (pl.Tensor(X, requires_grad=True) for _ in range(2))
    block(x).sum().backward()
    saving(y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_policies_by_value_name_and_by_node() -> None:
    named = pl.checkpoint(block, policy=pl.keep_names("hidden", "other"))
    assert counts(named)["tanh"] == 1
    assert counts(named)["exp"] == 2
    _same_results(named)
    assert counts(pl.checkpoint(block, policy=pl.keep_names("other")))["tanh"] == 2
    exponentials = pl.checkpoint(policy=lambda node: node.op.name == "exp")(block)
    assert counts(exponentials)["exp"] == 1
    assert counts(exponentials)["tanh"] == 2
    _same_results(exponentials)
    text = str(named.plan(pl.Tensor(X)))
    assert text.startswith("keeps 1 values, 4,096 bytes, and 4,096 bytes of arguments")
    assert "tanh: f32[32, 32] (4,096 bytes), test_checkpoint.py:" in text


def test_names_mean_nothing_elsewhere() -> None:
    both = {"a": pl.Tensor(X), "b": "text"}
    assert pl.checkpoint_name(both, "n")["a"] is both["a"]
    named = pl.jit(lambda x: pl.checkpoint_name({"x": x, "n": 1}, "n")["x"] * 2.0)
    np.testing.assert_array_equal(named(pl.Tensor(X)).numpy(), X * 2)
    assert "checkpoint_name" not in str(named.lower(pl.Tensor(X)).passes.graph)
    slope = pl.grad(lambda x: pl.vmap(lambda r: pl.checkpoint_name(r, "n") ** 2)(x).sum())
    np.testing.assert_array_equal(slope(pl.Tensor(X)).numpy(), 2 * X)


@pytest.mark.parametrize("policy", [*AGAIN, "budget"])
def test_other_transforms_go_through(policy: Any) -> None:
    how: dict[str, Any] = {"budget": 3 * SQUARE} if policy == "budget" else {"policy": policy}
    saving = pl.checkpoint(block, **how)
    x = pl.Tensor(X)
    loss, plain = (lambda x: (saving(x) ** 2).sum()), (lambda x: (block(x) ** 2).sum())
    pairs = [
        (pl.jvp(loss, (x,), (x,))[1], pl.jvp(plain, (x,), (x,))[1]),
        (pl.hvp(loss, x, x), pl.hvp(plain, x, x)),
        (pl.vhp(loss, x, x), pl.vhp(plain, x, x)),
        (pl.vmap(pl.grad(loss))(x.unsqueeze(0)), pl.vmap(pl.grad(plain))(x.unsqueeze(0))),
        (pl.jit(pl.grad(pl.checkpoint(loss)))(x), pl.grad(plain)(x)),
    ]
    for a, b in pairs:
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-3)


# budgets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("squares", [1, 4, 9, 20, 60])
def test_a_budget_holds_and_more_room_means_less_work(squares: int) -> None:
    count, x = 20, pl.Tensor(X)
    saving = pl.checkpoint(deep(count), budget=squares * SQUARE)
    plan = saving.plan(x)
    assert plan.kept_bytes + plan.argument_bytes <= squares * SQUARE
    assert len(plan.kept) == min(squares - 1, count)
    assert plan.flops_again == max(0, count - squares + 1) * (plan.flops // count)
    for a, b in zip(gradient(deep(count))(x), gradient(saving)(x), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert counts(saving)["tanh"] == count + max(0, count - squares + 1)


def test_what_is_kept_lies_evenly() -> None:
    """So that what is computed again is short: the peak stays near what is kept."""
    saving = pl.checkpoint(deep(64), budget=8 * SQUARE)
    peak = gradient(saving).lower(pl.Tensor(X)).memory.peak / SQUARE
    assert peak <= 2 * 8 + 2


def test_products_are_kept_before_what_is_cheap() -> None:
    plan = pl.checkpoint(block, budget=3 * SQUARE).plan(pl.Tensor(X))
    assert "tanh" in {k.op for k in plan.kept} or "dot_general" in {k.op for k in plan.kept}
    assert plan.flops_again < 0.5 * plan.flops
    assert "of 12,288 allowed" in str(plan)


def test_the_choice_is_near_the_best() -> None:
    """Against every choice there is, on small graphs."""
    worst = 0.0
    for seed in range(12):
        program = Program.of(random_graph(seed, 9))
        values = [v for n in program.again(()) for v in n.outputs if v.type.nbytes]
        if not 3 <= len(values) <= 9:
            continue
        for room in (total(values) // 4, total(values) // 2):
            found = choose(program, room)
            assert total(found) <= room
            best = min(program.flops_again(s) for s in _subsets(values, room))
            worst = max(worst, (program.flops_again(found) - best) / max(_all(program), 1))
    assert worst <= 0.05


def _all(program: Program) -> int:
    return program.flops_again(())


def _subsets(values: list[Value], room: int) -> list[tuple[Value, ...]]:
    every = (s for k in range(len(values) + 1) for s in itertools.combinations(values, k))
    return [s for s in every if total(s) <= room]


def test_of_a_function_without_a_derivative() -> None:
    for how in list[dict[str, Any]]([{"policy": "everything"}, {"budget": 10 * SQUARE}]):
        f = pl.checkpoint(lambda x: (x > 0).astype("float32"), **how)
        np.testing.assert_array_equal(f(pl.Tensor(X)).numpy(), (X > 0).astype(np.float32))
    assert isinstance(Program.of(random_graph(0, 3)).graph, Graph)


def test_methods_and_no_grad() -> None:
    class Model:
        @pl.checkpoint(policy="dots")
        def run(self, x: Any) -> Any:
            return layer(x)

    np.testing.assert_array_equal(Model().run(pl.Tensor(X)).numpy(), layer(pl.Tensor(X)).numpy())
    with pl.no_grad():
        assert pl.checkpoint(lambda x: pl.is_tracing())(pl.Tensor(X)) is False


WORD: Any = "dot"
NUMBER: Any = 0.5


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: pl.checkpoint(block, policy=WORD), r"policy is one of .*'dot'.*dots"),
        (lambda: pl.checkpoint(block, policy=NUMBER), "policy is one of"),
        (lambda: pl.checkpoint(block, policy="dots", budget=5), "not both"),
        (lambda: pl.checkpoint(block, budget=-1), "not both, got .* budget -1"),
        (lambda: pl.checkpoint(block, budget=100)(pl.Tensor(X)), r"not fit.*4,096 bytes.*get=4096"),
        (lambda: pl.checkpoint(block, budget=100).plan(pl.Tensor(X)), "do not fit"),
        (lambda: pl.keep_names(NUMBER), "names are strings"),
        (lambda: pl.checkpoint_sequential([]), "needs layers"),
        (lambda: pl.checkpoint_sequential([layer], 2), "layers 1 and segments 2"),
    ],
)  # fmt: skip
def test_it_refuses(run: Callable[[], Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        run()


@pytest.mark.parametrize("how", [{}, {"policy": "dots"}, {"budget": 3 * SQUARE}], ids=str)
def test_random_numbers_are_the_same_again(how: dict[str, Any]) -> None:
    drop = pl.nn.Dropout(0.5)

    def noisy(x: Any) -> Any:
        return drop(pl.tanh(drop(x) @ MATRIX))

    found = []
    for f in (noisy, pl.checkpoint(noisy, **how)):
        for run in (pl.grad(lambda x, f=f: (f(x) ** 2).sum()), gradient(f)):
            pl.manual_seed(3)
            made = run(pl.Tensor(X))
            found.append((made[1] if isinstance(made, tuple) else made, pl.rand(4)))
    np.testing.assert_array_equal(found[0][0].numpy(), found[2][0].numpy())
    np.testing.assert_array_equal(found[1][0].numpy(), found[3][0].numpy())
    for _, after in found:
        np.testing.assert_array_equal(after.numpy(), found[0][1].numpy())


def test_of_modules() -> None:
    """Their attributes stay theirs, and their parameters get the same gradients."""
    model = pl.nn.Sequential(pl.nn.Linear(4, 8), pl.nn.Tanh(), pl.nn.Linear(8, 2), pl.nn.Tanh())
    x = pl.Tensor(X[:, :4])

    def gradients(f: Callable[[Any], Any]) -> list[Any]:
        model.zero_grad()
        (f(x) ** 2).sum().backward()
        return [p.grad for p in model.parameters()]

    want = gradients(model)
    saving: list[Any] = [
        pl.checkpoint(model),
        pl.checkpoint(model, budget=9000),
        pl.checkpoint_sequential(model),
    ]
    assert not hasattr(saving[0], "_training")
    for f in saving:
        for got, g in zip(gradients(f), want, strict=True):
            assert got is not None
            np.testing.assert_array_equal(got.numpy(), g.numpy())
