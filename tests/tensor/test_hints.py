from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
from pellucid.tensor import hints


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("numel", "use x.size"),
        ("long", r"use x.astype\('int64'\)"),
        ("cumsum", r"use pellucid.cumsum\(x\)"),
        ("softmx", ""),
    ],
)
def test_methods_of_other_libraries_are_answered(name: str, answer: str) -> None:
    with pytest.raises(AttributeError, match=f"a Tensor has no attribute '{name}'.*{answer}"):
        getattr(pl.ones(2), name)
    assert not hasattr(pl.ones(2), name)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("from_numpy", r"use pellucid.Tensor\(array\)"),
        ("argmx", "did you mean 'argmax'"),
        ("qqqq", ""),
    ],
)
def test_names_of_other_libraries_are_answered(name: str, answer: str) -> None:
    with pytest.raises(AttributeError, match=f"pellucid has no attribute '{name}'.*{answer}"):
        getattr(pl, name)


def test_numpys_functions_give_numpys_results() -> None:
    x = pl.Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert np.sum(x) == 10.0
    assert np.concatenate([x, x]).shape == (4, 2)
    with pytest.raises(pl.PellucidError, match="a traced tensor has no value yet"):
        pl.jit(np.sum)(x)


def test_swapped_arguments_of_save_are_told() -> None:
    with pytest.raises(pl.PellucidError, match=r"Fix: use save\(path, model.state_dict\(\)\)"):
        pl.save({}, "weights.safetensors")  # type: ignore[arg-type]  # what the test is about


@pytest.mark.parametrize("name", hints._OTHER_NAMES)
def test_other_names_lead_to_functions(name: str) -> None:
    with pytest.raises(AttributeError, match="use pellucid") as caught:
        getattr(pl, name)
    assert hasattr(pl, str(caught.value).rpartition("pellucid.")[2])
