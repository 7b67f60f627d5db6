"""Training steps with AdamW: gradients are compared from equal weights, then steps take turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import graph_load
from pellucid.bench.jax_models import jax_state, jax_step
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Goal, Load, Race, Row, Setting
from pellucid.bench.torch_models import torch_loss, torch_step
from pellucid.bench.works import (
    LEARNING_RATE,
    WORKS,
    Work,
    give_weights,
    jax_loss_of,
    loss_of,
    pellucid_step,
    weights_of,
)

GOALS = {
    "mlp b64": Goal(ratio=2.0),
    "mlp b512": Goal(ratio=1.1),
    "lenet b64": Goal(ratio=3.0),
    "char-gpt b12": Goal(ratio=2.0),
    "tiny b8": Goal(peers={"torch": 50.0, "jax": 10.0}),
}


def _batch(work: Work) -> tuple[Array, Array]:
    return work.batch(np.random.default_rng(0))


def ours_step(work: Work, model: Any) -> tuple[Candidate, Load]:
    """Pellucid's step; its result is the loss and each parameter's gradient, by name."""
    x, y = (pl.Tensor(a) for a in _batch(work))
    step = pellucid_step(model)

    def result() -> list[Array]:
        loss = loss_of(model(x), y)
        loss.backward()
        found = [np.array(p.grad.numpy()) for _, p in sorted(model.named_parameters())]
        for p in model.parameters():
            p.grad = None
        return [np.asarray(loss.numpy()), *found]

    work_load = graph_load(step.lower(x, y).passes.graph)
    return Candidate(lambda: step(x, y), result), work_load


def torch_candidate(
    work: Work, model: Any, compiled: bool = False, mode: str | None = None
) -> Candidate:
    """PyTorch's step, from the weights of the Pellucid model."""
    torch, theirs = load("torch"), work.torch()
    give_weights(theirs, model)
    x, y = map(torch.from_numpy, _batch(work))
    step = torch_step(theirs, LEARNING_RATE, compiled, mode)

    def result() -> list[Array]:
        loss = torch_loss(theirs, x, y)
        loss.backward()
        named = sorted(theirs.named_parameters(), key=lambda item: item[0])
        found = [p.grad.numpy().copy() for _, p in named]
        theirs.zero_grad()
        return [loss.detach().numpy(), *found]

    return Candidate(lambda: step(x, y), result)


def jax_candidate(work: Work, model: Any) -> Candidate:
    """JAX's step, from the weights of the Pellucid model."""
    jax, loss = load("jax"), jax_loss_of(work)
    weights = weights_of(model)
    x, y = map(jax.device_put, _batch(work))
    step = jax_step(loss, LEARNING_RATE)
    state = [jax_state(weights)]

    def run() -> Any:
        state[0], value = step(state[0], x, y)
        return value.block_until_ready()

    def result() -> list[Array]:
        value, grads = jax.value_and_grad(loss)(weights, x, y)
        return [np.asarray(value), *(np.asarray(grads[k]) for k in sorted(grads))]

    return Candidate(run, result)


def _make(work: Work, beside: bool = False) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        model = work.pellucid()
        candidate, load_of = ours_step(work, model)
        return Race(
            ours=candidate,
            load=load_of,
            tolerance=1e-5,
            beside=beside,
            peers={
                "torch": lambda: torch_candidate(work, model),
                "torch.compile": lambda: torch_candidate(work, model, True),
                "torch autotuned": lambda: torch_candidate(work, model, True, "max-autotune"),
                "jax": lambda: jax_candidate(work, model),
            },
        )

    return make


_BESIDE = ("mlp b512", "char-gpt b12")

ROWS = (
    *(
        Row(name=f"step {work.name}", group="steps", goal=GOALS[work.name], make=_make(work))
        for work in WORKS
    ),
    *(
        Row(
            name=f"step {work.name}, a core taken",
            group="steps",
            goal=Goal(ratio=1.0),
            make=_make(work, beside=True),
        )
        for work in WORKS
        if work.name in _BESIDE
    ),
)
