"""Python's own errors inside an operation, as errors of the operation.

Operations check what they are written for. Where an argument is of a kind they never thought of,
Python fails somewhere inside; the user is told which operation it was and what it was given.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pellucid.core.errors import ArgumentError, PellucidError, TraceError
from pellucid.tensor.box import Box

RAW = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError)  # of Python, bare
_LONGEST = 40
_KEY = "index with ints, slices of ints, None, ... and arrays of integers or bools"
_KEYWORDS = {"dim": "axis", "keepdim": "keepdims", "unbiased": "correction"}  # PyTorch's: ours
_FIXES = {"getitem": _KEY, "index_set": _KEY}  # written with brackets, not by name


def refusal(
    error: Exception, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Exception:
    """The error to raise for one of `RAW` that came out of `fn(*args, **kwargs)`.

    It is the same one where it is about the signature, or the function is a user's; Pellucid's are
    given the name of what was called.
    """
    if not fn.__module__.startswith("pellucid."):
        return error
    if isinstance(error, PellucidError):
        if not isinstance(error, TraceError) and not fn.__name__.startswith("_"):
            error.rename(fn.__name__)
        return error
    try:
        bound = inspect.signature(fn).bind(*args, **kwargs)
    except TypeError:
        ours = [_KEYWORDS[name] for name in kwargs if name in _KEYWORDS]
        return TypeError(f"{error}. Fix: use {' and '.join(ours)}") if ours else error
    given = {name: _described(value) for name, value in bound.arguments.items()}
    rule = f"does not take these arguments ({error})"
    public = fn.__name__ in getattr(sys.modules.get("pellucid"), "__all__", ())
    fix = _FIXES.get(fn.__name__, f"see help(pellucid.{fn.__name__})" if public else "")
    refused = ArgumentError(fn.__name__, rule, operands=given, fix=fix)
    refused.__cause__ = error
    return refused


def _described(value: Any) -> str:
    if isinstance(value, Box):
        return str(value.type)
    if isinstance(value, (list, tuple)) and any(isinstance(v, Box) for v in value):
        return f"{type(value).__name__} of {', '.join(map(_described, value))}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"a {type(value).__name__}"
