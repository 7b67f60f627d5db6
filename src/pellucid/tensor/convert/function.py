"""`convert`: a function whose control flow may depend on tensors."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Generic, ParamSpec, TypeVar

from pellucid.core.errors import ArgumentError
from pellucid.tensor.box import STATE
from pellucid.tensor.convert.calls import convertible
from pellucid.tensor.convert.refused import refuse_suspending, yields
from pellucid.tensor.convert.rewrite import converted_code
from pellucid.tensor.convert.state import REASONS, explained

P = ParamSpec("P")
R = TypeVar("R")
_KINDS = (FunctionType, MethodType, functools.partial)


class ConvertedFunction(Generic[P, R]):
    """A function with its control flow converted. Made by `convert`; call it as the original."""

    def __init__(self, fn: Callable[P, R]) -> None:
        functools.update_wrapper(self, fn)
        self.__name__: str = getattr(fn, "__name__", "function")
        self.__convertible__ = fn
        written = _written(fn)
        if yields(written):
            refuse_suspending(written)
        self._fn: Callable[P, R] = convertible(fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result."""
        outermost, before = STATE.convert is None, STATE.convert
        STATE.convert = convertible
        try:
            return self._fn(*args, **kwargs)
        except NameError as error:
            if not outermost:
                raise
            raise explained(error) from None
        finally:
            STATE.convert = before
            if outermost:
                REASONS.why.clear()

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Copied and pickled as functions are: by name where it has one, else by what it wraps."""
        found: Any = sys.modules.get(self.__module__)
        path = getattr(self, "__qualname__", "")
        for name in path.split("."):
            found = getattr(found, name, None)
        return path if found is self else (convert, (self.__convertible__,))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    @property
    def source(self) -> str:
        """The converted source."""
        return converted_code(_written(self.__convertible__)).source


def _written(fn: Any) -> FunctionType:
    """The function whose source a callable stands for.

    Raises:
        ArgumentError: it is none a user has written in Python.
    """
    while not isinstance(fn, FunctionType):
        inner = getattr(fn, "__convertible__", None)
        if isinstance(fn, functools.partial):
            inner = fn.func
        elif isinstance(fn, MethodType):
            inner = fn.__func__
        elif inner is None and not isinstance(fn, type):
            inner = getattr(type(fn), "forward", None) or vars(type(fn)).get("__call__")
        if not isinstance(inner, _KINDS):
            raise ArgumentError(
                "convert", "takes a function written in Python", operands={"it": repr(fn)},
                fix="wrap it: convert(lambda x: ...)",
            )  # fmt: skip
        fn = inner
    return fn


def convert(fn: Callable[P, R]) -> ConvertedFunction[P, R]:
    """A function whose `if`, `while`, `for`, `break`, early `return`, `and`, `or` and the like may
    depend on tensors.

    Called at once, it does what `fn` does. In a function that is being recorded (by `jit`, `grad`,
    …) Python values still decide in Python; where a tensor decides, both branches or the loop are
    recorded. Functions of the user's that it calls are converted too.

    Args:
        fn: a function, method, partial application or object with `__call__`, whose source is
            available.

    Returns:
        The converted function; its `source` can be read. It shares closure variables, defaults and
        globals with `fn`.

    Raises:
        TraceError: the source is not available, or holds what cannot be converted; names the line.
        ArgumentError: `fn` is not written in Python.

    Source: AutoGraph (Moldovan et al., 2018), with closure cells as state and types joined while
    recording.
    """
    if isinstance(fn, (staticmethod, classmethod)):
        raise ArgumentError(
            "convert", "takes what is called, not its decorator", operands={"it": repr(fn)},
            fix="write @staticmethod above @convert",
        )  # fmt: skip
    return ConvertedFunction(fn)
