from __future__ import annotations

import pytest

from pellucid import nn
from pellucid.core.errors import ArgumentError, IndexRangeError
from pellucid.tensor.tensor import Tensor


def test_sequential_applies_in_order_and_takes_names() -> None:
    net = nn.Sequential({"double": nn.Identity(), "relu": nn.ReLU()})
    assert net(Tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    assert [n for n, _ in net.named_children()] == ["double", "relu"]
    assert isinstance(net[-1], nn.ReLU)


def test_module_list_is_a_list() -> None:
    layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    layers.append(nn.GELU())
    assert [type(m).__name__ for m in layers] == ["ReLU", "Tanh", "GELU"]
    assert len(layers) == 3
    assert isinstance(layers[1:][0], nn.Tanh)
    layers[0] = nn.Linear(1, 1)
    assert [n for n, _ in layers.named_parameters()] == ["0.weight", "0.bias"]


def test_index_out_of_range_ends_like_a_list() -> None:
    with pytest.raises(IndexRangeError, match="ModuleList: has 1 modules, got index 3"):
        nn.ModuleList([nn.ReLU()])[3]


def test_only_modules_are_held() -> None:
    with pytest.raises(ArgumentError, match="ModuleList: holds modules, got it int"):
        nn.ModuleList([1])  # type: ignore[list-item]  # refused


def test_module_dict_is_a_dict() -> None:
    layers = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.ReLU()})
    layers["c"] = nn.Tanh()
    assert list(layers) == layers.keys() == ["a", "b", "c"]
    assert len(layers) == len(layers.values()) == len(layers.items()) == 3
    assert "a" in layers
    assert "z" not in layers
    assert list(layers.state_dict()) == ["a.weight", "a.bias"]


def test_module_dict_says_what_it_has() -> None:
    with pytest.raises(ArgumentError, match=r"no module named 'encodr'.*did you mean 'encoder'"):
        nn.ModuleDict({"encoder": nn.ReLU()})["encodr"]


@pytest.mark.parametrize("name", ["", "a.b", "keys", "forward"])
def test_module_dict_refuses_names_that_would_clash(name: str) -> None:
    with pytest.raises(ArgumentError, match="a name must be a plain word"):
        nn.ModuleDict({name: nn.ReLU()})
