"""The three training steps of the benchmark, in Pellucid and in PyTorch, from the same weights and
data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pellucid as pl
from pellucid import nn


@dataclass(frozen=True, slots=True)
class Work:
    """One training problem: how to build the model in each framework, and its batch."""

    name: str
    pellucid: Callable[[], Any]
    torch: Callable[[Any], Any]
    batch: Callable[[np.random.Generator], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
    lr: float = 1e-3


def _mlp() -> Any:
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def _torch_mlp(torch: Any) -> Any:
    t = torch.nn
    return t.Sequential(
        t.Linear(784, 256), t.ReLU(), t.Linear(256, 128), t.ReLU(), t.Linear(128, 10)
    )


def _lenet() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def _torch_lenet(torch: Any) -> Any:
    t = torch.nn
    return t.Sequential(
        t.Conv2d(1, 6, 5, padding=2), t.ReLU(), t.MaxPool2d(2),
        t.Conv2d(6, 16, 5), t.ReLU(), t.MaxPool2d(2), t.Flatten(),
        t.Linear(400, 120), t.ReLU(), t.Linear(120, 84), t.ReLU(), t.Linear(84, 10),
    )  # fmt: skip


GPT_SIZE = {"vocab": 65, "context": 64, "layers": 4, "heads": 4, "width": 128}


class CharGPT(nn.GPT):
    """nanoGPT's model, with logits of every position as its only result."""

    def forward(self, tokens: Any) -> Any:  # type: ignore[override]  # logits only
        """Integers `[B, T]` to `[B, T, V]`."""
        return self.lm_head(self.transformer(tokens))


def _gpt() -> Any:
    config = nn.GPTConfig(
        vocab_size=GPT_SIZE["vocab"], block_size=GPT_SIZE["context"], n_layer=GPT_SIZE["layers"],
        n_head=GPT_SIZE["heads"], n_embd=GPT_SIZE["width"], bias=True,
    )  # fmt: skip
    return CharGPT(config)


def _torch_gpt(torch: Any) -> Any:
    from bench.torch_gpt import build

    return build(torch, **GPT_SIZE)


def _images(*shape: int) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    def batch(rng: np.random.Generator) -> tuple[Any, Any]:
        return rng.standard_normal(shape, dtype=np.float32), rng.integers(0, 10, shape[0])

    return batch


def _text(rng: np.random.Generator) -> tuple[Any, Any]:
    tokens = rng.integers(0, GPT_SIZE["vocab"], (12, GPT_SIZE["context"] + 1))
    return tokens[:, :-1].copy(), tokens[:, 1:].copy()


WORKS = (
    Work("mlp 784-256-128-10 b64", _mlp, _torch_mlp, _images(64, 784)),
    Work("lenet b64", _lenet, _torch_lenet, _images(64, 1, 28, 28)),
    Work("nanogpt-char 4x128 ctx64 b12", _gpt, _torch_gpt, _text),
)


def loss_of(logits: Any, targets: Any) -> Any:
    """Mean cross entropy; text logits are [batch, time, vocabulary]."""
    if logits.ndim == 3:
        logits, targets = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    return nn.functional.cross_entropy(logits, targets)


def pellucid_step(model: Any, lr: float) -> Callable[[Any, Any], Any]:
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


def torch_step(
    torch: Any, model: Any, lr: float, compiled: bool = False
) -> Callable[[Any, Any], Any]:
    """The same step in PyTorch, eager or with `torch.compile` around forward and loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)

    def forward(x: Any, y: Any) -> Any:
        logits = model(x)
        if logits.ndim == 3:
            logits, y = logits.reshape(-1, logits.shape[-1]), y.reshape(-1)
        return torch.nn.functional.cross_entropy(logits, y)

    run = torch.compile(forward) if compiled else forward

    def step(x: Any, y: Any) -> Any:
        loss = run(x, y)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return step


def copy_weights(model: Any, torch_model: Any) -> None:
    """Give the Pellucid model the PyTorch model's weights, by state-dict name."""
    state = {k: v.detach().numpy().copy() for k, v in torch_model.state_dict().items()}
    model.load_state_dict(state)
