"""Inference: frozen models beside ONNX Runtime and OpenVINO, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench import torch_gpt
from pellucid.bench.adapters import graph_load, onnxruntime_call, openvino_call, torch_call
from pellucid.bench.layers import (
    LENET,
    MLP,
    Layers,
    build_pellucid,
    mobilenet_v2,
    resnet8,
    resnet18,
)
from pellucid.bench.onnx_block import block_model
from pellucid.bench.onnx_models import network_model
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.bench.torch_models import build_torch
from pellucid.bench.works import give_weights
from pellucid.nn.gpt import Block, GPTConfig

_HEADS, _WIDTH, _TIME = 12, 768, 256
_BLOCK = "gpt block 256x768"

NETWORKS: dict[str, Layers] = {
    "mlp b1": MLP,
    "mlp b64": MLP,
    "lenet b1": LENET,
    "lenet b64": LENET,
    "resnet8 b1": resnet8(),
    "resnet18 b1": resnet18(),
    "mobilenetv2 b1": mobilenet_v2(),
}
INPUTS: dict[str, tuple[int, ...]] = {
    "mlp b1": (1, 784),
    "mlp b64": (64, 784),
    "lenet b1": (1, 1, 28, 28),
    "lenet b64": (64, 1, 28, 28),
    "resnet8 b1": (1, 3, 32, 32),
    "resnet18 b1": (1, 3, 224, 224),
    "mobilenetv2 b1": (1, 3, 224, 224),
    _BLOCK: (1, _TIME, _WIDTH),
}
RATIOS = dict.fromkeys(INPUTS, 1.3) | {
    "mlp b1": 1.5,
    "lenet b1": 2.0,
    "resnet18 b1": 1.1,
    "mobilenetv2 b1": 1.1,
    _BLOCK: 1.1,
}


def make_model(name: str) -> Any:
    """The model of a row."""
    return make_network(NETWORKS[name]) if name in NETWORKS else make_block()


def make_network(layers: Layers) -> Any:
    """The network with statistics and scales of batch norms as after training: not 0 and 1."""
    model = build_pellucid(layers)
    rng = np.random.default_rng(0)
    state = {name: np.array(v.numpy()) for name, v in model.state_dict().items()}
    norms = [n.removesuffix(".running_mean") for n in state if n.endswith(".running_mean")]
    for norm in norms:
        size = state[f"{norm}.weight"].shape
        for part, low, high in (("weight", 0.5, 1.0), ("running_var", 0.5, 1.5)):
            state[f"{norm}.{part}"] = rng.uniform(low, high, size).astype(np.float32)
        for part in ("bias", "running_mean"):
            state[f"{norm}.{part}"] = rng.normal(0, 0.2, size).astype(np.float32)
    model.load_state_dict(state)
    return model


def make_block() -> Any:
    """A transformer block 768 wide with 12 heads."""
    config = GPTConfig(vocab_size=8, block_size=_TIME, n_head=_HEADS, n_embd=_WIDTH, bias=True)
    return Block(config)


def _arrays(model: Any) -> dict[str, Array]:
    return {name: np.array(v.numpy()) for name, v in model.state_dict().items()}


def _race(
    model: Any, x: Array, onnx: Callable[[dict[str, Array]], bytes], torch: Callable[[], Any]
) -> Race:
    """The frozen model and its peers, on the same input."""
    frozen, given = pl.freeze(model, x), pl.Tensor(x)

    def in_torch() -> Candidate:
        theirs = torch()
        give_weights(theirs, model)
        theirs.requires_grad_(False).eval()
        return torch_call(theirs, x)

    return Race(
        ours=Candidate(lambda: frozen(given), lambda: [frozen(given).numpy()]),
        load=graph_load(frozen.lower().passes.graph),
        peers={
            "onnxruntime": lambda: onnxruntime_call(onnx(_arrays(model)), x=x),
            "openvino": lambda: openvino_call(onnx(_arrays(model)), x=x),
            "torch": in_torch,
        },
    )


def _network(name: str) -> Callable[[Setting], Race]:
    layers, shape = NETWORKS[name], INPUTS[name]

    def make(_: Setting) -> Race:
        x = np.random.default_rng(1).standard_normal(shape, np.float32)

        def onnx(weights: dict[str, Array]) -> bytes:
            return network_model(layers, weights, shape)

        return _race(make_network(layers), x, onnx, lambda: build_torch(layers))

    return make


def _block(_: Setting) -> Race:
    shape = INPUTS[_BLOCK]
    x = np.random.default_rng(1).standard_normal(shape, np.float32)

    def torch() -> Any:
        whole = torch_gpt.build(load("torch"), 8, _TIME, 1, _HEADS, _WIDTH)
        return whole.transformer["h"][0]

    return _race(make_block(), x, lambda weights: block_model(weights, shape, _HEADS), torch)


def _row(name: str) -> Row:
    goal = Goal(peers=dict.fromkeys(("onnxruntime", "openvino"), RATIOS[name]))
    make = _network(name) if name in NETWORKS else _block
    return Row(name=f"infer {name}", group="inference", goal=goal, make=make)


ROWS = tuple(map(_row, RATIOS))
