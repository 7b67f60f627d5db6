"""The namespace: exactly the standard's names, its constants, its answers about itself."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import pellucid as pl
from pellucid import array_api as xp
from pellucid.core.errors import ArgumentError, DeviceError

strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")

# what the reference has beside the standard's names
BEYOND = {
    "ArrayAPIStrictDeprecationWarning", "ArrayAPIStrictFlags", "Device",
    "get_array_api_strict_flags", "reset_array_api_strict_flags", "set_array_api_strict_flags",
}  # fmt: skip


def test_names_are_the_standards() -> None:
    newer = {"broadcast_shapes", "isin"}  # of 2025.12, which an older reference has not
    wanted = {n for n in strict.__all__ if not n.startswith("__")} - BEYOND
    own = {n for n in xp.__all__ if not n.startswith("__")}
    assert own - newer == wanted - newer
    assert newer <= own
    assert {n for n in xp.__all__ if n.startswith("__")} == {
        "__array_api_version__",
        "__array_namespace_info__",
    }


def test_shapes_broadcast_as_arrays_do() -> None:
    assert xp.broadcast_shapes((3, 1), (2,), ()) == (3, 2)
    assert xp.broadcast_shapes() == ()
    with pytest.raises(ValueError, match="broadcast_shapes: shapes do not broadcast"):
        xp.broadcast_shapes((2,), (3,))


def test_functions_are_pellucids_own() -> None:
    for name in xp.__all__:
        if inspect.isfunction(getattr(xp, name)) and not name.startswith("__"):
            assert getattr(xp, name) is getattr(pl, name), name


def test_signatures_take_what_the_references_take() -> None:
    for name in xp.__all__:
        if not inspect.isfunction(getattr(strict, name, None)) or name.startswith("__"):
            continue
        own = inspect.signature(getattr(xp, name)).parameters
        for parameter in inspect.signature(getattr(strict, name)).parameters.values():
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                assert parameter.name in own, f"{name}({parameter.name}=)"


def test_a_tensor_leads_to_its_namespace() -> None:
    x = xp.ones(3)
    assert x.__array_namespace__() is xp
    assert x.__array_namespace__(api_version="2022.12") is xp
    with pytest.raises(ArgumentError, match=r"not provided, got api_version 2019\.01"):
        x.__array_namespace__(api_version="2019.01")
    assert x.to_device(x.device) is x
    with pytest.raises(DeviceError, match="no device 'cuda'"):
        x.to_device("cuda")


def test_the_namespace_knows_itself() -> None:
    info = xp.__array_namespace_info__()
    assert info.capabilities()["boolean indexing"]
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["real floating"] == xp.float32 == xp.asarray(1.0).dtype
    assert info.default_dtypes(device="cpu")["indexing"] == xp.argsort(xp.ones(2)).dtype
    assert set(info.dtypes(kind=("bool", "signed integer"))) == {
        "bool", "int8", "int16", "int32", "int64",
    }  # fmt: skip
    assert info.dtypes()["float64"] is xp.float64
    with pytest.raises(DeviceError):
        info.dtypes(device="cuda")


def test_constants() -> None:
    assert (xp.e, xp.pi, xp.inf) == (np.e, np.pi, np.inf)
    assert np.isnan(xp.nan)
    assert xp.ones(2)[xp.newaxis].shape == (1, 2)


def test_an_axis_that_is_not_there_is_an_index_error() -> None:
    with pytest.raises(IndexError, match=r"expand_dims: axis must be in \[-1, 1\)"):
        xp.expand_dims(xp.asarray(1.0), axis=2)
    with pytest.raises(IndexError, match="sum: axis must be in"):
        xp.sum(xp.ones(3), axis=1)


def test_a_diagonal_may_lie_outside_the_matrix() -> None:
    for k in (-(2**70), -3, 4, 2**70):
        assert not xp.any(xp.eye(2, 3, k=k))
