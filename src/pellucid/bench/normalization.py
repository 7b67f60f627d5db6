"""Softmax and layer norm over large matrices, forward and with gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import (
    jax_call,
    onnxruntime_call,
    openvino_call,
    ours,
    torch_call,
    torch_compiled,
)
from pellucid.bench.onnx_models import operator_model
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.nn import functional as F

Fn = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Function:
    """One function in each framework's terms; the first input is the matrix."""

    shape: tuple[int, int]
    ours: Fn
    torch: Fn
    jax: Fn
    onnx: str
    parameters: int = 0


def _jax_norm(x: Any, w: Any, b: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * load("jax").lax.rsqrt(variance + 1e-5) * w + b


FUNCTIONS = {
    "softmax 4096x4096": _Function(
        (4096, 4096),
        F.softmax,
        lambda x: load("torch").softmax(x, -1),
        lambda x: load("jax").nn.softmax(x, -1),
        "Softmax",
    ),
    "layer norm 4096x1024": _Function(
        (4096, 1024),
        lambda x, w, b: F.layer_norm(x, 1024, w, b),
        lambda x, w, b: load("torch").nn.functional.layer_norm(x, (1024,), w, b),
        _jax_norm,
        "LayerNormalization",
        2,
    ),
}


def _arrays(made: _Function) -> list[Array]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(made.shape, np.float32)
    vectors = (rng.standard_normal(made.shape[1], np.float32) for _ in range(made.parameters))
    return [x, *vectors]


def _forward(made: _Function) -> Race:
    arrays = _arrays(made)
    candidate, work = ours(made.ours, *arrays)
    peers: dict[str, Callable[[], Candidate]] = {
        "torch": lambda: torch_call(made.torch, *arrays),
        "torch.compile": lambda: torch_compiled(made.torch, *arrays),
        "jax": lambda: jax_call(made.jax, *arrays),
        "onnxruntime": lambda: onnxruntime_call(
            operator_model(made.onnx, *arrays, axis=-1), x=arrays[0]
        ),
        "openvino": lambda: openvino_call(operator_model(made.onnx, *arrays, axis=-1), x=arrays[0]),
    }
    return Race(ours=candidate, load=work, peers=peers)


def _both(made: _Function) -> Race:
    """The result and the gradients of all inputs."""
    arrays = _arrays(made)
    count = len(arrays)
    g = np.random.default_rng(1).standard_normal(made.shape, np.float32)

    def ours_both(*given: Any) -> Any:
        y, pull = pl.vjp(made.ours, *given[:count])
        return y, *pull(given[count])

    def torch_both(*given: Any) -> Any:
        y = made.torch(*given[:count])
        return y, *load("torch").autograd.grad(y, given[:count], given[count])

    def jax_both(*given: Any) -> Any:
        y, pull = load("jax").vjp(made.jax, *given[:count])
        return y, *pull(given[count])

    candidate, work = ours(ours_both, *arrays, g)
    return Race(
        ours=candidate,
        load=work,
        peers={
            "torch": lambda: torch_call(torch_both, *arrays, g, grad=range(count)),
            "jax": lambda: jax_call(jax_both, *arrays, g),
        },
    )


def _row(name: str, made: _Function, both: bool) -> Row:
    make = _both if both else _forward

    def prepare(_: Setting) -> Race:
        return make(made)

    full = f"{name} {'fwd+bwd' if both else 'fwd'}"
    return Row(name=full, group="norms", goal=Goal(ratio=1.2), make=prepare)


ROWS = tuple(_row(n, made, both) for n, made in FUNCTIONS.items() for both in (False, True))
