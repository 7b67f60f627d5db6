"""The training problems: models, batches, and a step with AdamW in each framework.

Enters: nothing. Leaves: `Work` records, and steps from equal weights and data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pellucid as pl
from pellucid import nn
from pellucid.bench import torch_gpt
from pellucid.bench.jax_models import apply_gpt, apply_layers, jax_loss
from pellucid.bench.layers import LENET, MLP, TINY, Layers, build_pellucid
from pellucid.bench.peers import load
from pellucid.bench.row import Array
from pellucid.bench.torch_models import build_torch

LEARNING_RATE = 1e-3
GPT_SIZE = {"vocab": 65, "context": 64, "layers": 4, "heads": 4, "width": 128}


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One training problem.

    Attributes:
        name: as in tables.
        pellucid: makes the model.
        torch: makes PyTorch's model, with the same names of weights.
        jax: logits from weights by name and inputs.
        batch: inputs and targets.
    """

    name: str
    pellucid: Callable[[], Any]
    torch: Callable[[], Any]
    jax: Callable[[Any, Any], Any]
    batch: Callable[[np.random.Generator], tuple[Array, Array]]


class CharGPT(nn.GPT):
    """nanoGPT's model, with logits of every position as its only result."""

    def forward(self, tokens: Any) -> Any:  # type: ignore[override]  # logits only
        """Integers `[B, T]` to `[B, T, V]`."""
        return self.lm_head(self.transformer(tokens))


def make_gpt(layers: int = GPT_SIZE["layers"]) -> CharGPT:
    """The character GPT, of so many layers."""
    config = nn.GPTConfig(
        vocab_size=GPT_SIZE["vocab"], block_size=GPT_SIZE["context"], n_layer=layers,
        n_head=GPT_SIZE["heads"], n_embd=GPT_SIZE["width"], bias=True,
    )  # fmt: skip
    return CharGPT(config)


def text_batch(rng: np.random.Generator) -> tuple[Array, Array]:
    """12 rows of random characters, and those that follow."""
    tokens = rng.integers(0, GPT_SIZE["vocab"], (12, GPT_SIZE["context"] + 1))
    return tokens[:, :-1].copy(), tokens[:, 1:].copy()


def _layered(name: str, layers: Layers, *shape: int) -> Work:
    def batch(rng: np.random.Generator) -> tuple[Array, Array]:
        return rng.standard_normal(shape, dtype=np.float32), rng.integers(0, 10, shape[0])

    return Work(
        name=name,
        pellucid=lambda: build_pellucid(layers),
        torch=lambda: build_torch(layers),
        jax=lambda weights, x: apply_layers(layers, weights, x),
        batch=batch,
    )


WORKS = (
    _layered("mlp b64", MLP, 64, 784),
    _layered("mlp b512", MLP, 512, 784),
    _layered("lenet b64", LENET, 64, 1, 28, 28),
    Work(
        name="char-gpt b12",
        pellucid=make_gpt,
        torch=lambda: torch_gpt.build(load("torch"), **GPT_SIZE),
        jax=lambda weights, x: apply_gpt(weights, x, GPT_SIZE["layers"], GPT_SIZE["heads"]),
        batch=text_batch,
    ),
    _layered("tiny b8", TINY, 8, 16),
)


def loss_of(logits: Any, targets: Any) -> Any:
    """Mean cross entropy; text logits are [batch, time, vocabulary]."""
    if logits.ndim == 3:
        logits, targets = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    return nn.functional.cross_entropy(logits, targets)


def pellucid_step(model: Any, lr: float = LEARNING_RATE) -> Any:
    """A jitted training step with AdamW."""
    optimiser = pl.optim.AdamW(model.parameters(), lr=lr)

    @pl.jit
    def step(x: Any, y: Any) -> Any:
        loss = loss_of(model(x), y)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return step


def jax_loss_of(work: Work) -> Callable[[Any, Any, Any], Any]:
    """The loss as a function of weights, inputs and targets."""
    return lambda weights, x, y: jax_loss(work.jax(weights, x), y)


def weights_of(model: Any) -> dict[str, Array]:
    """Copies of a Pellucid model's parameters by name; shared ones once."""
    return {name: np.array(p.numpy()) for name, p in model.named_parameters()}


def copy_weights(model: Any, torch_model: Any) -> None:
    """Give the Pellucid model the PyTorch model's weights, by state-dict name."""
    state = {k: v.detach().numpy().copy() for k, v in torch_model.state_dict().items()}
    model.load_state_dict(state)


def give_weights(torch_model: Any, model: Any) -> None:
    """Give the PyTorch model the Pellucid model's weights, by state-dict name."""
    torch = load("torch")
    state = {k: torch.from_numpy(np.array(v.numpy())) for k, v in model.state_dict().items()}
    torch_model.load_state_dict(state)
