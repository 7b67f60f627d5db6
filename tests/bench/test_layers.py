from __future__ import annotations

import math

import numpy as np
import pytest

import pellucid as pl
from pellucid.bench.adapters import graph_load, ours
from pellucid.bench.inference import INPUTS, NETWORKS, make_network
from pellucid.bench.layers import Layers, build_pellucid, mobilenet_v2, resnet8, resnet18
from pellucid.bench.onnx_models import network_model
from pellucid.bench.torch_models import build_torch
from pellucid.bench.works import give_weights
from pellucid.nn import functional as F


@pytest.mark.parametrize(
    ("layers", "count"), [(resnet18(), 11_689_512), (mobilenet_v2(), 3_504_872)]
)
def test_networks_have_the_published_number_of_parameters(layers: Layers, count: int) -> None:
    model = build_pellucid(layers)
    assert sum(math.prod(p.shape) for p in model.parameters()) == count


def test_resnet8_gives_ten_classes() -> None:
    model = make_network(resnet8()).eval()
    with pl.no_grad():
        assert model(pl.zeros((2, 3, 32, 32))).shape == (2, 10)
    variance = dict(model.state_dict())["1.running_var"].numpy()
    assert variance.std() > 0  # as after training


def test_load_counts_each_byte_once() -> None:
    x = np.zeros((4, 8), np.float32)
    _, load = ours(lambda x: F.relu(x + x) * 2.0, x)
    assert (load.read, load.written) == (128, 128)
    table, numbers = np.zeros((1000, 16), np.float32), np.zeros(4, np.int64)
    _, load = ours(lambda w, n: F.embedding(n, w), table, numbers)
    assert load.written == 4 * 16 * 4
    assert load.read == load.written + numbers.nbytes  # only the rows that are gathered


def test_load_counts_the_weights_of_a_frozen_model() -> None:
    frozen = pl.freeze(pl.nn.Linear(8, 4), np.zeros((2, 8), np.float32))
    load = graph_load(frozen.lower().passes.graph)
    assert load.read >= (2 * 8 + 8 * 4 + 4) * 4
    assert load.flops >= 2 * 2 * 8 * 4


@pytest.mark.parametrize("name", ["lenet b1", "resnet8 b1"])
def test_the_peers_networks_are_the_same(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the peer, is not installed")
    model = make_network(NETWORKS[name])
    theirs = build_torch(NETWORKS[name])
    give_weights(theirs, model)
    x = np.random.default_rng(0).standard_normal(INPUTS[name], np.float32)
    expected = theirs.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(pl.freeze(model, x)(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_onnx_models_are_valid() -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    name = "mobilenetv2 b1"
    weights = {k: v.numpy() for k, v in make_network(NETWORKS[name]).state_dict().items()}
    model = onnx.load_from_string(network_model(NETWORKS[name], weights, INPUTS[name]))
    onnx.checker.check_model(model, full_check=True)
