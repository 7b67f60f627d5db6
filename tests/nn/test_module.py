from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.tensor.tensor import Buffer, Parameter, Tensor
from tests.nn.peer import torch


class Net(nn.Module):
    def __init__(self) -> None:
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.head = nn.Linear(4, 2, bias=False)
        self.scale = Parameter(np.ones(2, np.float32))
        self.calls = Buffer(np.array(0, np.int64))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(x)) * self.scale
        return result


def test_attributes_register_in_order_without_super_init() -> None:
    assert [n for n, _ in Net().named_parameters()] == [
        "scale", "body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "head.weight",
    ]  # fmt: skip
    assert [n for n, _ in Net().named_buffers()] == [
        "calls", "body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked",
    ]  # fmt: skip
    assert [n for n, _ in Net().named_modules()] == [
        "", "body", "body.0", "body.1", "body.2", "head",
    ]  # fmt: skip


def test_cells_know_their_path() -> None:
    net = Net()
    assert all(p.name == n for n, p in net.named_parameters())


def test_state_dict_order_is_pytorchs() -> None:
    theirs = torch.nn.Module()
    theirs.body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    theirs.scale = torch.nn.Parameter(torch.ones(2))
    theirs.register_buffer("calls", torch.tensor(0))
    ours = nn.Module()
    ours.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ours.scale = Parameter([1.0, 1.0])
    ours.calls = Buffer(np.array(0))
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_shared_parameters_count_once_but_are_saved_under_both_names() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 1
    assert list(net.state_dict()) == ["0.weight", "1.weight"]


def test_train_and_eval_reach_every_module() -> None:
    net = Net()
    assert net.training
    net.eval()
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())


def test_state_dict_is_a_snapshot() -> None:
    net = Net()
    before = net.state_dict()["scale"]
    net.scale.assign_(Tensor([5.0, 5.0]))
    np.testing.assert_array_equal(before.numpy(), [1, 1])


def test_load_state_dict_round_trip() -> None:
    a, b = Net(), Net()
    result = b.load_state_dict(a.state_dict())
    assert result == ([], [])
    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy(), err_msg=name)


def test_load_reports_missing_and_unexpected_paths() -> None:
    net = Net()
    state = net.state_dict()
    state["head.wight"] = state.pop("head.weight")
    with pytest.raises(
        ArgumentError,
        match=r"Net.load_state_dict: .*missing head.weight; not expected head.wight.*did you mean",
    ):
        net.load_state_dict(state)
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["head.weight"]
    assert result.unexpected_keys == ["head.wight"]


def test_load_changes_nothing_when_something_does_not_fit() -> None:
    net = Net()
    state = {n: v.numpy() + 1 for n, v in net.state_dict().items()}
    state["head.weight"] = np.zeros((3, 3), np.float32)
    before = net.scale.numpy().copy()
    with pytest.raises(ShapeError, match=r"head.weight has another shape.*\(2, 4\).*\(3, 3\)"):
        net.load_state_dict(state)
    np.testing.assert_array_equal(net.scale.numpy(), before)


def test_load_converts_floats_and_refuses_other_kinds() -> None:
    net = Net()
    state: dict[str, object] = dict(net.state_dict())
    net.load_state_dict({**state, "scale": np.array([2.0, 3.0], np.float64)})
    assert net.scale.dtype.name == "float32"
    with pytest.raises(DTypeError, match=r"scale has another kind of dtype.*f32.*i64"):
        net.load_state_dict({**state, "scale": np.array([2, 3])})


def test_save_and_load_a_file(tmp_path: Path) -> None:
    a, b = Net(), Net()
    path = tmp_path / "net.safetensors"
    a.save(path)
    b.load(path)
    np.testing.assert_array_equal(a.head.weight.numpy(), b.head.weight.numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_transient_buffers_are_not_saved() -> None:
    net = nn.Module()
    net.register_buffer("mask", Tensor([1.0]), persistent=False)
    assert [n for n, _ in net.named_buffers()] == ["mask"]
    assert net.state_dict() == {}


def test_modules_in_plain_containers_are_refused() -> None:
    net = nn.Module()
    with pytest.raises(ArgumentError, match=r"layers is a list of modules.*Fix: use nn.ModuleList"):
        net.layers = [nn.ReLU()]
    with pytest.raises(ArgumentError, match=r"layers is a dict of .*Fix: use nn.ModuleDict"):
        net.layers = {"a": nn.ReLU()}


def test_parameter_cannot_be_replaced_by_a_plain_tensor() -> None:
    net = Net()
    with pytest.raises(ArgumentError, match=r"scale is a Parameter .*use self.scale.assign_"):
        net.scale = net.scale * 2  # type: ignore[assignment]  # refused
    net.scale = Parameter([1.0, 2.0])
    assert dict(net.named_parameters())["scale"] is net.scale


def test_gradients_freeze_and_are_forgotten() -> None:
    net = Net()
    net.body.requires_grad_(False)
    x = Tensor(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32))
    net(x).sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is not None] == ["scale", "head.weight"]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_apply_visits_children_first() -> None:
    seen: list[str] = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "BatchNorm1d", "ReLU", "Sequential", "Linear", "Net"]


def test_forward_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


def test_repr_nests() -> None:
    assert repr(Net()) == (
        "Net(\n"
        "  (body): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): BatchNorm1d(4, eps=1e-05, momentum=0.1)\n"
        "    (2): ReLU()\n"
        "  )\n"
        "  (head): Linear(in_features=4, out_features=2, bias=False)\n"
        ")"
    )


def test_modules_deep_inside_containers_are_refused() -> None:
    inside = [1, nn.ReLU()]
    for hidden in ([inside], {"a": inside}, {nn.ReLU()}, ({"a": ({"b": Parameter([1.0])},)},)):
        with pytest.raises(ArgumentError, match=r"parts is a .* of modules or parameters, which"):
            nn.Module().parts = hidden


def test_containers_of_plain_data_are_attributes_like_others() -> None:
    module = nn.Module()
    endless: list[object] = [1, {"a": (2, {3})}]
    endless.append(endless)
    module.plain = endless
    assert vars(module)["plain"] is endless


def test_a_module_cannot_contain_itself() -> None:
    outer, inner = nn.Module(), nn.Sequential(nn.ReLU())
    with pytest.raises(
        ArgumentError, match=r"Module: me would contain the module that it.*weakref"
    ):
        outer.me = outer
    outer.inner = inner
    with pytest.raises(
        ArgumentError, match="ReLU: back would contain the module that it is part of"
    ):
        inner[0].back = nn.Sequential(nn.Linear(1, 1), outer)
    assert [n for n, _ in outer.named_modules()] == ["", "inner", "inner.0"]
    outer.again = inner  # shared, but no circle


@pytest.mark.parametrize("state", [[], None, {0: np.zeros(1)}, 3])
def test_what_is_no_state_dict(state: Any) -> None:
    with pytest.raises(ArgumentError, match=r"Linear.load_state_dict: takes a mapping of names"):
        nn.Linear(1, 1).load_state_dict(state)
    with pytest.raises(ArgumentError, match="takes a mapping of names"):
        nn.Linear(1, 1).load_state_dict(state, strict=False)


def test_values_that_are_no_tensors() -> None:
    layer = nn.Linear(1, 1, bias=False)
    for value in ("x", object(), [[1], [2, 3]]):
        with pytest.raises(ArgumentError, match="load_state_dict: weight is no tensor of numbers"):
            layer.load_state_dict({"weight": value})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_pytorchs_parameters_load_as_they_are(dtype: str) -> None:
    layer = nn.Linear(2, 1, bias=False)
    weight = torch.nn.Parameter(torch.tensor([[1.5, -2.0]], dtype=getattr(torch, dtype)))
    layer.load_state_dict({"weight": weight})
    assert layer.weight.tolist() == [[1.5, -2.0]]
