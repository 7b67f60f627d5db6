"""Which functions are converted when converted code calls them: users' own, and no library's.

Built-in functions that look at contents get forms that record; Pellucid's functions of functions
get converted functions.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

from pellucid.core import dtype as dt
from pellucid.core.errors import TraceError
from pellucid.tensor.box import STATE
from pellucid.tensor.convert.branches import choose, if_
from pellucid.tensor.convert.checks import assert_, raising
from pellucid.tensor.convert.iteration import enumerate_, range_, reversed_, zip_
from pellucid.tensor.convert.journal import items, outside, owner
from pellucid.tensor.convert.logic import (
    and_,
    both,
    choose_number,
    contains,
    either,
    is_recorded,
    known,
    not_,
    or_,
    truth,
)
from pellucid.tensor.convert.loops import for_, while_
from pellucid.tensor.convert.refused import yields
from pellucid.tensor.convert.rewrite import converted_code, is_converted, with_code
from pellucid.tensor.functions import stack
from pellucid.tensor.guards import from_library
from pellucid.tensor.tensor import Tensor

_OURS = "pellucid.tensor."


def convertible(fn: Any) -> Any:
    """What converted code calls in place of `fn`: see the module's text."""
    if isinstance(fn, FunctionType):
        return _function(fn)
    if isinstance(fn, MethodType):
        return _method(fn)
    if isinstance(fn, functools.partial):
        return functools.partial(convertible(fn.func), *fn.args, **fn.keywords)
    if isinstance(fn, type) or not callable(fn):
        return _BUILT_IN.get(fn, fn) if isinstance(fn, type) else fn
    if (inner := getattr(fn, "__convertible__", None)) is not None:
        return convertible(inner)
    method = vars(type(fn)).get("__call__")
    if isinstance(method, FunctionType) and _is_users(method):
        return MethodType(_function(method), fn)
    return _BUILT_IN.get(fn, fn) if type(fn).__module__ == "builtins" else fn


def _method(fn: Any) -> Any:
    if fn.__func__ is Tensor.item and is_recorded(fn.__self__):
        return functools.partial(_item, fn.__self__)
    return MethodType(_function(fn.__func__), fn.__self__) if _is_users(fn.__func__) else fn


def _item(value: Tensor) -> Tensor:
    """`x.item()` of a recorded tensor: what a Python number is while recording."""
    if value.dtype == dt.bool_ or value.size != 1:
        return truth(value)
    return _as_number(value, dt.int64 if value.dtype.is_integer else dt.float64)


def _is_users(fn: Any) -> bool:
    return isinstance(fn, FunctionType) and not (from_library(fn) or yields(fn) or is_converted(fn))


def _function(fn: FunctionType) -> Any:
    if fn is stack:
        return _stack
    if _is_users(fn):
        return with_code(fn, converted_code(fn), _RUNTIME)
    if fn.__module__ and fn.__module__.startswith(_OURS):
        return functools.partial(_with_converted, fn)
    return fn


def _with_converted(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """One of our functions, given converted functions."""
    return fn(
        *(convertible(a) if _takes(a) else a for a in args),
        **{k: convertible(v) if _takes(v) else v for k, v in kwargs.items()},
    )


def _takes(value: Any) -> bool:
    return isinstance(value, (FunctionType, MethodType, functools.partial))


# ------------------------------------------------------------------------------ built-in functions


def _int(value: Any = 0, *rest: Any) -> Any:
    return _as_number(value, dt.int64) if is_recorded(value) else int(value, *rest)


def _float(value: Any = 0.0) -> Any:
    return _as_number(value, dt.float64) if is_recorded(value) else float(value)


def _as_number(value: Tensor, dtype: dt.DType) -> Tensor:
    """A recorded tensor of one element as what a Python number is while recording."""
    number = (value.reshape(()) if value.shape else value).astype(dtype)
    number = number.clone() if number is value else number
    number.weak = True
    return number


def _bool(value: Any = False) -> Any:
    return truth(value) if is_recorded(value) else bool(value)


def _all(items: Iterable[Any]) -> Any:
    return _folded(both, True, items)


def _any(items: Iterable[Any]) -> Any:
    return _folded(either, False, items)


def _folded(combine: Callable[[Any, Any], Any], found: Any, items: Iterable[Any]) -> Any:
    end = not found
    for item in items:
        found = combine(found, _bool(item))
        if found is end:
            break
    return found


def _extreme(fn: Callable[..., Any], better: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def find(*args: Any, **kwargs: Any) -> Any:
        items = list(args[0]) if len(args) == 1 else list(args)
        if kwargs or not any(map(is_recorded, items)):
            return fn(items, **kwargs)
        best = items[0]
        for item in items[1:]:
            best = choose_number(better(item, best), item, best)
        return best

    return find


def _sorted(items: Iterable[Any], **kwargs: Any) -> Any:
    every = list(items)
    if any(map(is_recorded, every)):
        rule = "the order of recorded tensors is not known"
        raise TraceError("sorted", rule, fix="use pellucid.sort(xs)")
    return sorted(every, **kwargs)


def _stack(arrays: Any, axis: int = 0) -> Any:
    """`stack`; of all rows of what a loop gave it is that itself."""
    trace, items = STATE.trace, list(arrays)
    if trace is not None and axis == 0 and items and all(type(v) is Tensor for v in items):
        places = [trace.rows.get(v) for v in items]
        if places[0] is not None:
            whole = places[0][0]
            rows = [p[1] for p in places if p is not None and p[0] is whole]
            if rows == list(range(whole.shape[0])) and len(rows) == len(items):
                return whole.clone()  # type: ignore[attr-defined]  # boxes made here are tensors
    return stack(items, axis)


def _map(fn: Any, *iterables: Any) -> Any:
    return map(convertible(fn), *iterables)


def _filter(fn: Any, items: Any) -> Any:
    test = convertible(fn) if fn is not None else lambda item: item
    return (item for item in items if known(test(item)))


_BUILT_IN: dict[Any, Any] = {
    builtins.range: range_,
    builtins.enumerate: enumerate_,
    builtins.zip: zip_,
    builtins.reversed: reversed_,
    builtins.int: _int,
    builtins.float: _float,
    builtins.bool: _bool,
    builtins.all: _all,
    builtins.any: _any,
    builtins.max: _extreme(max, lambda a, b: a > b),
    builtins.min: _extreme(min, lambda a, b: a < b),
    builtins.sorted: _sorted,
    builtins.map: _map,
    builtins.filter: _filter,
}

_RUNTIME = SimpleNamespace(  # what converted code calls, by the name `pl_`
    call=convertible,
    if_=if_,
    choose=choose,
    while_=while_,
    for_=for_,
    and_=and_,
    or_=or_,
    not_=not_,
    contains=contains,
    known=known,
    assert_=assert_,
    raising=raising,
    owner=owner,
    items=items,
    outside=outside,
)
