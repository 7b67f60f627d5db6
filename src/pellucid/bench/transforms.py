"""Loops and transforms: an LSTM by `scan`, Newton's method by `while_loop` and under `vmap`,
gradients of single examples; compile time beside the unrolled form, memory beside the square root.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import jax_call, ours
from pellucid.bench.fresh import run_code
from pellucid.bench.jax_models import apply_layers, jax_loss
from pellucid.bench.layers import LENET, build_pellucid
from pellucid.bench.peers import load
from pellucid.bench.row import OURS, Array, Goal, Race, Row, Samples, Setting
from pellucid.bench.startup import caches, sample_each
from pellucid.bench.works import loss_of, weights_of

STEPS, BATCH, WIDTH = 64, 32, 128
ROOTS = 4096
DEPTH = 100  # layers of the chain whose backward pass is looked at
TOLERANCE = 1e-6
COLD = 3  # processes that compile from nothing
UNROLLED = "pellucid unrolled"


def _lstm_arrays() -> tuple[Array, Array, Array]:
    """The joint weights `[2 W, 4 W]`, their shift, and the inputs `[steps, batch, W]`."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((2 * WIDTH, 4 * WIDTH), np.float32) / math.sqrt(2 * WIDTH)
    inputs = rng.standard_normal((STEPS, BATCH, WIDTH), np.float32)
    return weights, np.zeros(4 * WIDTH, np.float32), inputs


def lstm_cell(xp: Any, sigmoid: Any, weights: Any, shift: Any) -> Callable[[Any, Any], Any]:
    """One step of an LSTM: `((hidden, memory), x) -> ((hidden, memory), hidden)`.

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).
    """

    def cell(state: Any, x: Any) -> Any:
        hidden, memory = state
        gates = xp.concat([x, hidden], axis=-1) @ weights + shift
        keep, take, give = (sigmoid(gates[..., i * WIDTH : (i + 1) * WIDTH]) for i in range(3))
        memory = keep * memory + take * xp.tanh(gates[..., 3 * WIDTH :])
        hidden = give * xp.tanh(memory)
        return (hidden, memory), hidden

    return cell


def lstm_loss(xp: Any, sigmoid: Any, scan: Any) -> Callable[[Any, Any, Any], Any]:
    """The mean square of all hidden states, in the terms of a library."""

    def loss(weights: Any, shift: Any, inputs: Any) -> Any:
        first = xp.zeros(inputs.shape[1:], dtype=xp.float32)
        cell = lstm_cell(xp, sigmoid, weights, shift)
        _, outputs = scan(cell, (first, first), inputs)
        return xp.mean(outputs * outputs)

    return loss


def _unrolled(cell: Any, state: Any, inputs: Any) -> Any:
    outputs = []
    for t in range(inputs.shape[0]):
        state, output = cell(state, inputs[t])
        outputs.append(output)
    return state, pl.stack(outputs)


def _ours_lstm(scan: Any = None) -> Callable[[Any, Any, Any], Any]:
    return lstm_loss(pl, pl.sigmoid, scan or pl.scan)


def _jax_lstm() -> Callable[[Any, Any, Any], Any]:
    jax = load("jax")
    return lstm_loss(jax.numpy, jax.nn.sigmoid, jax.lax.scan)


def _lstm(gradient: bool) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        arrays = _lstm_arrays()
        mine = pl.value_and_grad(_ours_lstm(), argnums=(0, 1)) if gradient else _ours_lstm()
        flat = (lambda *a: _flat(mine(*a))) if gradient else mine
        candidate, load_of = ours(flat, *arrays)

        def jax() -> Any:
            theirs = _jax_lstm()
            if not gradient:
                return jax_call(theirs, *arrays)
            both = load("jax").value_and_grad(theirs, argnums=(0, 1))
            return jax_call(lambda *a: _flat(both(*a)), *arrays)

        return Race(ours=candidate, load=load_of, peers={"jax": jax})

    return make


def _vmap_lstm(_: Setting) -> Race:
    """The LSTM of one sequence, over a batch of sequences."""
    arrays = _lstm_arrays()
    axes = (None, None, 1)

    def jax() -> Any:
        return jax_call(load("jax").vmap(_jax_lstm(), in_axes=axes), *arrays)

    candidate, load_of = ours(pl.vmap(_ours_lstm(), in_axes=axes), *arrays)
    return Race(ours=candidate, load=load_of, peers={"jax": jax})


def _flat(result: Any) -> tuple[Any, ...]:
    value, grads = result
    return (value, *grads)


def newton(xp: Any, while_loop: Any) -> Callable[[Any], Any]:
    """Where `w exp(w)` is `y`, for each element, by Newton's method until all have settled."""

    def solve(y: Any) -> Any:
        def unsettled(state: Any) -> Any:
            _, move, count = state
            return xp.logical_and(xp.max(xp.abs(move)) > TOLERANCE, count < 50)

        def step(state: Any) -> Any:
            w, _, count = state
            power = xp.exp(w)
            move = (w * power - y) / (power * (w + 1))
            return w - move, move, count + 1

        start = xp.log1p(y)
        return while_loop(unsettled, step, (start, xp.ones_like(y), 0))[0]

    return solve


def _roots() -> Array:
    return np.random.default_rng(0).uniform(0.1, 50.0, ROOTS).astype(np.float32)


def _newton(each: bool) -> Callable[[Setting], Race]:
    """All elements in one loop, or a loop for each element under `vmap`."""

    def make(_: Setting) -> Race:
        solve = newton(pl, pl.while_loop)
        candidate, load_of = ours(pl.vmap(solve) if each else solve, _roots())

        def jax() -> Any:
            jax = load("jax")
            theirs = newton(jax.numpy, jax.lax.while_loop)
            return jax_call(jax.vmap(theirs) if each else theirs, _roots())

        return Race(ours=candidate, load=load_of, peers={"jax": jax})

    return make


def newton_system(xp: Any, while_loop: Any, jacobian: Any, solve: Any) -> Callable[[Any], Any]:
    """Where three equations hold, by Newton's method with the exact Jacobian."""

    def equations(v: Any) -> Any:
        x, y, z = v[0], v[1], v[2]
        return xp.stack([x * x + y - 3, y * y + z - 5, z * z + x - 7])

    def find(start: Any) -> Any:
        def step(state: Any) -> Any:
            v, _, count = state
            move = solve(jacobian(equations)(v), equations(v))
            return v - move, move, count + 1

        def unsettled(state: Any) -> Any:
            return xp.logical_and(xp.max(xp.abs(state[1])) > TOLERANCE, state[2] < 20)

        return while_loop(unsettled, step, (start, xp.ones_like(start), 0))[0]

    return find


def _newton_system(_: Setting) -> Race:
    start = np.ones(3, np.float32)
    mine = newton_system(pl, pl.while_loop, pl.jacfwd, pl.linalg.solve)
    candidate, load_of = ours(mine, start)

    def jax() -> Any:
        jax = load("jax")
        loop, solve = jax.lax.while_loop, jax.numpy.linalg.solve
        return jax_call(newton_system(jax.numpy, loop, jax.jacfwd, solve), start)

    return Race(ours=candidate, load=load_of, peers={"jax": jax})


def _singles(_: Setting) -> Race:
    """The gradient of each of 64 examples for LeNet's weights."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 1, 28, 28), np.float32), rng.integers(0, 10, 64)
    model = build_pellucid(LENET)
    names = sorted(weights_of(model))
    arrays = [weights_of(model)[name] for name in names]

    def mine(x: Any, y: Any, *weights: Any) -> Any:
        def loss(weights: Any, x: Any, y: Any) -> Any:
            given = dict(zip(names, weights, strict=True))
            return loss_of(pl.nn.functional_call(model, given, x[None]), y[None])

        return pl.vmap(pl.grad(loss), in_axes=(None, 0, 0))(weights, x, y)

    def theirs(x: Any, y: Any, *weights: Any) -> Any:
        jax = load("jax")

        def loss(weights: Any, x: Any, y: Any) -> Any:
            given = dict(zip(names, weights, strict=True))
            return jax_loss(apply_layers(LENET, given, x[None]), y[None])

        return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(weights, x, y)

    candidate, load_of = ours(mine, x, y, *arrays)
    return Race(
        ours=candidate, load=load_of, peers={"jax": lambda: jax_call(theirs, x, y, *arrays)}
    )


def _compile_seconds(setting: Setting) -> Samples:
    """From nothing to the first result: the LSTM's gradient by `scan`, unrolled, and in JAX."""

    def seconds(who: str) -> list[float]:
        code = f"from pellucid.bench.transforms import first; print(first({who!r}))"
        runs = []
        for _ in range(1 if setting.quick else COLD):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(run_code(code, setting.threads, **caches(Path(folder))))
        return runs

    samples = sample_each(setting, ("jax",), seconds)
    return replace(samples, seen={**samples.seen, UNROLLED: seconds(UNROLLED)})


def first(who: str) -> float:
    """Seconds of the first call of the LSTM's gradient in this process."""
    if who == "jax":
        return _first_jax(_lstm_arrays())
    loss = _ours_lstm(_unrolled if who == UNROLLED else None)
    tensors = [pl.Tensor(a) for a in _lstm_arrays()]
    step = pl.jit(pl.value_and_grad(loss, argnums=(0, 1)))
    start = time.perf_counter()
    step(*tensors)
    return time.perf_counter() - start


def _first_jax(arrays: tuple[Array, ...]) -> float:
    jax = load("jax")
    given = [jax.device_put(a) for a in arrays]
    step = jax.jit(jax.value_and_grad(_jax_lstm(), argnums=(0, 1)))
    start = time.perf_counter()
    jax.block_until_ready(step(*given))
    return time.perf_counter() - start


def _chain(segments: int) -> int:
    """The arena of the gradient of a chain of layers, kept whole or in checkpointed segments."""
    rng = np.random.default_rng(0)
    weights = [pl.Tensor(rng.standard_normal((64, 64), np.float32) / 8) for _ in range(DEPTH)]
    x = pl.Tensor(rng.standard_normal((1024, 64), np.float32))

    def part(weights: list[Any], x: Any) -> Any:
        for w in weights:
            x = pl.tanh(x @ w)
        return x

    def loss(weights: list[Any], x: Any) -> Any:
        size = math.ceil(DEPTH / segments)
        for at in range(0, DEPTH, size):
            step = pl.checkpoint(part) if segments > 1 else part
            x = step(weights[at : at + size], x)
        return (x * x).sum()

    return pl.jit(pl.grad(loss)).lower(weights, x).memory.peak


def _square_root(_: Setting) -> Samples:
    """Memory of a checkpointed backward pass over what `2 sqrt(n)` of its activations take."""
    activation = 1024 * 64 * 4
    line = 2 * math.sqrt(DEPTH) * activation
    seen = {OURS: [_chain(round(math.sqrt(DEPTH))) / line], "all kept": [_chain(1) / line]}
    return Samples(seen=seen)


_JAX = Goal(peers={"jax": 1.0})

ROWS = (
    Row(name="scan lstm", group="transforms", goal=_JAX, make=_lstm(gradient=False)),
    Row(name="scan lstm gradient", group="transforms", goal=_JAX, make=_lstm(gradient=True)),
    Row(name="vmap scan lstm", group="transforms", goal=_JAX, make=_vmap_lstm),
    Row(name="while newton", group="transforms", goal=_JAX, make=_newton(each=False)),
    Row(name="newton of 3 equations", group="transforms", goal=_JAX, make=_newton_system),
    Row(name="vmap newton", group="transforms", goal=_JAX, make=_newton(each=True)),
    Row(name="gradients of 64 examples, lenet", group="transforms", goal=_JAX, make=_singles),
    Row(
        name="compile scan lstm gradient",
        group="transforms",
        goal=Goal(peers={UNROLLED: 4.0, "jax": 1.0}),
        make=_compile_seconds,
    ),
    Row(
        name="chain of 100 layers over 2 sqrt(n)",
        group="transforms",
        goal=Goal(most=1.2),
        make=_square_root,
        unit="",
    ),
)
