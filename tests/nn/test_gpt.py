from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.tensor.random import Generator, manual_seed
from pellucid.tensor.tensor import Tensor
from tests.nn.peer import close, torch

SMALL = nn.GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12, bias=True)


def peer_loss(weights: dict[str, Any], tokens: Any, targets: Any) -> Any:
    """nanoGPT's forward pass in plain PyTorch functions."""
    f = torch.nn.functional
    time = tokens.shape[1]
    x = weights["transformer.wte.weight"][tokens] + weights["transformer.wpe.weight"][:time]

    def norm(x: Any, name: str) -> Any:
        return f.layer_norm(x, (12,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x: Any, name: str) -> Any:
        return f.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    for i in range(SMALL.n_layer):
        base = f"transformer.h.{i}"
        joint = linear(norm(x, f"{base}.ln_1"), f"{base}.attn.c_attn")
        q, k, v = (
            t.view(*t.shape[:2], SMALL.n_head, -1).transpose(1, 2) for t in joint.split(12, dim=2)
        )
        y = f.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(y.transpose(1, 2).reshape(x.shape), f"{base}.attn.c_proj")
        wide = f.gelu(linear(norm(x, f"{base}.ln_2"), f"{base}.mlp.c_fc"))
        x = x + linear(wide, f"{base}.mlp.c_proj")
    logits = norm(x, "transformer.ln_f") @ weights["transformer.wte.weight"].T
    loss = f.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    return logits, loss


def test_loss_and_gradients_are_pytorchs() -> None:
    manual_seed(0)
    model = nn.GPT(SMALL)
    rng = np.random.default_rng(0)
    for _, p in model.named_parameters():
        p.assign_(Tensor(p.numpy() + rng.normal(0, 0.2, p.shape).astype(np.float32)))
    tokens, targets = rng.integers(0, 11, (2, 3, 8))
    targets[0, 0] = -1
    named = dict(model.named_parameters())
    weights = {n: torch.tensor(p.numpy(), requires_grad=True) for n, p in named.items()}
    logits, loss = model(Tensor(tokens), Tensor(targets))
    their_logits, their_loss = peer_loss(weights, torch.tensor(tokens), torch.tensor(targets))
    close(logits, their_logits)
    close(loss, their_loss)
    loss.backward()
    their_loss.backward()
    for name, p in named.items():
        close(p.grad, weights[name].grad, name)


def test_names_are_nanogpts() -> None:
    names = list(nn.GPT(SMALL).state_dict())
    assert names[:2] == ["transformer.wte.weight", "transformer.wpe.weight"]
    block = [n.removeprefix("transformer.h.0.") for n in names if ".h.0." in n]
    layers = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]
    assert block == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert names[-3:] == ["transformer.ln_f.weight", "transformer.ln_f.bias", "lm_head.weight"]


def test_output_layer_is_the_token_embedding() -> None:
    model = nn.GPT(SMALL)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_first_loss_is_that_of_guessing() -> None:
    manual_seed(0)
    tokens = Tensor(np.random.default_rng(0).integers(0, 11, (4, 8)))
    targets = Tensor(np.random.default_rng(1).integers(0, 11, (4, 8)))
    _, loss = nn.GPT(SMALL)(tokens, targets)
    assert abs(loss.item() - math.log(11)) < 0.1


def test_without_targets_only_the_last_logits() -> None:
    logits, loss = nn.GPT(SMALL)(Tensor(np.zeros((2, 5), np.int64)))
    assert logits.shape == (2, 1, 11)
    assert loss is None


def test_later_tokens_do_not_change_earlier_logits() -> None:
    model = nn.GPT(SMALL)
    a = np.zeros((1, 8), np.int64)
    b = a.copy()
    b[0, 5:] = 7
    first, second = (model(Tensor(t), Tensor(t))[0].numpy() for t in (a, b))
    np.testing.assert_allclose(first[0, :5], second[0, :5], atol=1e-6)
    assert np.abs(first[0, 5:] - second[0, 5:]).max() > 1e-4


def test_generation_continues_beyond_the_block_and_repeats_with_a_seed() -> None:
    model = nn.GPT(SMALL).eval()
    start = Tensor(np.array([[1, 2]]))
    a, b = (model.generate(start, 10, top_k=3, generator=Generator(4)).numpy() for _ in range(2))
    assert a.shape == (1, 12)
    assert a[0, :2].tolist() == [1, 2]
    np.testing.assert_array_equal(a, b)
    assert a.max() < 11


def test_greedy_generation_takes_the_likeliest() -> None:
    model = nn.GPT(SMALL).eval()
    start = np.array([[1, 2, 3]])
    made = model.generate(Tensor(start), 1, temperature=0.0).numpy()
    assert made[0, 3] == model(Tensor(start))[0].numpy()[0, 0].argmax()


def test_bad_input() -> None:
    with pytest.raises(ArgumentError, match="n_head must divide n_embd"):
        nn.GPT(nn.GPTConfig(vocab_size=3, n_head=3, n_embd=8))
    with pytest.raises(ShapeError, match=r"T up to 8, got tokens \(1, 9\)"):
        nn.GPT(SMALL)(Tensor(np.zeros((1, 9), np.int64)))
    with pytest.raises(ArgumentError, match=r"temperature >= 0"):
        nn.GPT(SMALL).generate(Tensor(np.zeros((1, 0), np.int64)), 1)
