from __future__ import annotations

import pytest

from pellucid.core import errors
from pellucid.core.errors import PellucidError, ShapeError, did_you_mean


def test_the_whole_message() -> None:
    error = ShapeError(
        "matmul", "inner dims must match", operands={"a": (2, 3), "b": (4, 3)}, fix="use b.T",
        source="train.py:12",
    )  # fmt: skip
    expected = (
        "matmul: inner dims must match, got a (2, 3) and b (4, 3) (at train.py:12). Fix: use b.T."
    )
    assert str(error) == expected


@pytest.mark.parametrize(
    ("rule", "fix", "expected"),
    [
        ("is wrong", "", "op: is wrong."),
        ("is wrong.", "do this.", "op: is wrong. Fix: do this."),
        ("is unknown", "did you mean 'x'?", "op: is unknown. Fix: did you mean 'x'?"),
        ("failed\nlisting\n", "", "op: failed\nlisting\n"),
    ],
)
def test_sentences_end_once(rule: str, fix: str, expected: str) -> None:
    assert str(PellucidError("op", rule, fix=fix)) == expected


def test_parts_are_kept() -> None:
    error = ShapeError("add", "rule", operands={"a": 1}, fix="fix", source="f.py:1")
    assert (error.op, error.rule, error.operands) == ("add", "rule", {"a": 1})
    assert (error.fix, error.source) == ("fix", "f.py:1")


@pytest.mark.parametrize(
    ("name", "builtin"),
    [("ShapeError", ValueError), ("DTypeError", TypeError), ("ArgumentError", ValueError),
     ("IndexRangeError", IndexError), ("TraceError", TypeError), ("DeviceError", RuntimeError),
     ("MissingExtraError", ImportError), ("OutOfMemoryError", MemoryError),
     ("CompileError", RuntimeError)],
)  # fmt: skip
def test_errors_are_also_what_python_callers_expect(name: str, builtin: type) -> None:
    assert issubclass(getattr(errors, name), (PellucidError, builtin))
    assert issubclass(getattr(errors, name), builtin)


def test_hints_only_for_close_names() -> None:
    assert did_you_mean("sofmax", ["softmax", "relu"]) == "did you mean 'softmax'?"
    assert did_you_mean("zzz", ["softmax", "relu"]) == ""
    names = ["LONG_PREFIX_ONE", "LONG_PREFIX_THREE"]
    assert did_you_mean("LONG_PREFIX_XYZ", names) != ""
    assert did_you_mean("LONG_PREFIX_XYZ", names, prefix="LONG_PREFIX_") == ""
    found = did_you_mean("LONG_PREFIX_TREE", names, prefix="LONG_PREFIX_")
    assert found == "did you mean 'LONG_PREFIX_THREE'?"
