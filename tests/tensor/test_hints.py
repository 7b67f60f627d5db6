from __future__ import annotations

import re

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
        ("shap", r"did you mean 'shape'"),
        ("inverse", r"use pellucid.linalg.inv\(x\)"),
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


@pytest.mark.parametrize(
    ("space", "name", "answer"),
    [
        (pl, "gelu", "use pellucid.nn.functional.gelu"),
        (pl, "cross", "use pellucid.linalg.cross"),
        (pl, "flatten", "use x.flatten"),
        (pl.nn, "LSTM", "use pellucid.scan"),
        (pl.nn, "Liner", "did you mean 'Linear'"),
        (pl.nn.functional, "one_hot", "use pellucid.one_hot"),
        (pl.optim, "lr_scheduler", "use pellucid.optim itself"),
        (pl.linalg, "matrix_exp", r"use pellucid.linalg.expm\(x\)"),
        (pl.data, "DataLoader", "use pellucid.data.batches"),
        (pl.fft, "rff", "did you mean 'rfft'"),
    ],
)
def test_other_namespaces_answer_too(space: object, name: str, answer: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'. Fix: {answer}"):
        getattr(space, name)


@pytest.mark.parametrize("answers", [hints._METHODS, hints._MODULE, *hints._SPACES.values()])
def test_answers_name_what_there_is(answers: dict[str, str]) -> None:
    for answer in answers.values():
        for path in re.findall(r"pellucid((?:\.\w+)+)", answer):
            found: object = pl
            for part in path.strip(".").split("."):
                found = getattr(found, part)
        for method in re.findall(r"\bx\.(\w+)", answer):
            assert hasattr(pl.ones((2, 2)), method), answer


def test_what_is_offered_is_for_users() -> None:
    assert {"Tensor", "nn", "pi", "newaxis"} <= set(dir(pl))
    assert not {"Any", "TYPE_CHECKING", "missing_name"} & set(dir(pl))


@pytest.mark.parametrize("space", [pl.nn, pl.optim, pl.data, pl.linalg, pl.fft, pl.nn.functional])
def test_namespaces_offer_what_they_have(space: object) -> None:
    offered = dir(space)
    assert offered
    assert not {"answers", "annotations", "TYPE_CHECKING"} & set(offered)
    assert all(hasattr(space, name) for name in offered)
