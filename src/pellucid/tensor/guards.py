"""What Python told a recorded function: attributes and names that its program depends on.

A compiled program holds as long as each of them is what it was. Modules and parameter groups
report what is read of them while a function is recorded. The names are those that the function's
code loads from outside, and that of the functions it calls by name and of its modules.
"""

from __future__ import annotations

import dis
import functools
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

from pellucid.core.source import is_ours
from pellucid.tensor.box import STATE, open_traces

Class = TypeVar("Class", bound=type)
_VALUES = (bool, int, float, complex, str, bytes, type(None))  # equal ones are as good as the same
_ABSENT = object()
_WRAPS = 20  # decorators around one function, at most
_LIBRARIES = tuple(sysconfig.get_paths()[n] for n in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True, slots=True)
class Guard:
    """Something read while recording, and how to read it again."""

    what: str
    read: Callable[[], Any]
    seen: Any

    def changed(self) -> str:
        """What it was and what it is; empty while it is the same."""
        now = self.read()
        if now is self.seen or _same(now, self.seen):
            return ""
        return f"{self.what}: {_short(self.seen)} -> {_short(now)}"

    def __str__(self) -> str:
        return f"{self.what} = {_short(self.seen)}"

    @property
    def is_plain(self) -> bool:
        """Whether it is a plain value: worth a line where dependencies are listed."""
        return isinstance(self.seen, _VALUES)


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is tuple:
        return len(a) == len(b) and all(map(_same, a, b))
    if type(a) is float:
        return a.hex() == b.hex()  # 0.0 is not -0.0, and NaN is NaN
    return isinstance(a, _VALUES) and bool(a == b)


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = repr(value) if isinstance(value, (*_VALUES, tuple)) else ""
    return text if text and len(text) < 60 else f"a {type(value).__name__}"


# ------------------------------------------------------------------------------------- attributes


class _Edits:
    """How often an attribute of a watched object was set, in all threads."""

    count = 0


EDITS = _Edits()


def attribute(owner: Any, name: str) -> Guard:
    """A guard on an attribute as it is now; a list or dict counts by what it holds."""
    read = functools.partial(_read, owner, name)
    return Guard(f"{type(owner).__name__}.{name.lstrip('_')}", read, read())


def _read(owner: Any, name: str) -> Any:
    try:
        value = object.__getattribute__(owner, name)  # unwatched
    except AttributeError:
        return _ABSENT
    if type(value) is list:
        return tuple(value)
    return tuple(value.items()) if type(value) is dict else value


def note_read(owner: Any, name: str) -> None:
    """Tell every open trace that an attribute was read, so that compiled programs are tied to its
    value. Whoever sets it says so with `note_edit`.
    """
    for trace in open_traces():
        if (id(owner), name) not in trace.reads:
            trace.reads[id(owner), name] = attribute(owner, name)


def forget_read(owner: Any, name: str) -> None:
    """Tell every open trace that what it was told of an attribute does not count."""
    for trace in open_traces():
        trace.reads.pop((id(owner), name), None)


def note_call(module: type) -> None:
    """Tell every open trace that `forward` of this class was run: names that it loads count as the
    recorded function's own.
    """
    for trace in open_traces():
        trace.modules[module] = None


def note_edit() -> None:
    """Tell compiled programs to look again at what they read."""
    EDITS.count += 1


class _Watch:
    """The classes that are watched while at least one block wants it."""

    def __init__(self) -> None:
        self.classes: list[type] = []
        self._blocks = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """One more block wants it."""
        with self._lock:
            self._blocks += 1
            for cls in self.classes:
                setattr(cls, "__getattribute__", _noted)  # noqa: B010  # to a type checker a method

    def end(self) -> None:
        """One block less wants it."""
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                for cls in self.classes:
                    delattr(cls, "__getattribute__")


_WATCH = _Watch()


def watched(cls: Class) -> Class:
    """A class whose instances report attributes read while a function is recorded."""
    _WATCH.classes.append(cls)
    return cls


@contextmanager
def watching() -> Iterator[None]:
    """Watch attributes in this block. Between such blocks reading one costs nothing extra."""
    _WATCH.begin()
    try:
        yield
    finally:
        _WATCH.end()


def _noted(self: Any, name: str) -> Any:
    value = object.__getattribute__(self, name)
    if STATE.trace is not None and name in object.__getattribute__(self, "__dict__"):
        note_read(self, name)
    return value


# ------------------------------------------------------------------------------------------ names


def names_read(fn: Callable[..., Any], modules: Iterable[type] = ()) -> list[Guard]:
    """Guards on the globals and closure variables that a function and the methods of these classes
    load, and those that users' functions among them load in turn. Imported modules do not count.
    """
    found: dict[Any, Guard] = {}
    todo = [_plain_function(part) for part in (fn, *_rules(fn))]
    todo += [m for cls in modules for m in _methods(cls)]
    seen: set[CodeType] = set()
    while todo:
        function = todo.pop()
        if function is None or function.__code__ in seen or from_library(function):
            continue
        seen.add(function.__code__)
        for key, guard in _loaded(function):
            if not isinstance(guard.seen, ModuleType) and key not in found:
                found[key] = guard
                todo += [_plain_function(part) for part in (guard.seen, *_rules(guard.seen))]
    return list(found.values())


class HasRules:
    """A function that its author gave rules of its own: they are read as it is."""

    rules: tuple[Callable[..., Any], ...] = ()


def _rules(value: Any) -> tuple[Callable[..., Any], ...]:
    return value.rules if isinstance(value, HasRules) else ()


def _methods(cls: type) -> Iterator[FunctionType]:
    """`forward` and its rules, and the methods whose names they mention."""
    todo = ["forward", "backward", "setup_context"]
    seen = {*todo}
    while todo:
        name = todo.pop()
        for base in cls.__mro__:
            function = _plain_function(vars(base).get(name))
            if function is not None and not from_library(function):
                yield function
                mentioned = set(_mentioned(function.__code__)) - seen
                seen |= mentioned
                todo += mentioned


def _mentioned(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _mentioned(inner)


def _plain_function(value: Any) -> FunctionType | None:
    """The function behind methods, partial applications and decorators that tell what they wrap."""
    for _ in range(_WRAPS):
        if isinstance(value, functools.partial):
            value = value.func
        elif isinstance(value, MethodType | staticmethod | classmethod):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif callable(value) and "__wrapped__" in getattr(value, "__dict__", ()):
            value = value.__dict__["__wrapped__"]
        else:
            break
    return value if isinstance(value, FunctionType) else None


def from_library(function: FunctionType) -> bool:
    """Whether a function is ours or an installed library's, not the user's."""
    path = function.__code__.co_filename
    return is_ours(path) or path.startswith(_LIBRARIES)


def _loaded(function: FunctionType) -> Iterator[tuple[Any, Guard]]:
    space = function.__globals__
    loads, stores = _names(function.__code__)
    for name in sorted(loads - stores):
        if name in space:
            read = functools.partial(space.get, name, _ABSENT)
            yield (id(space), name), Guard(f"global {name}", read, read())
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        if name not in stores:
            read = functools.partial(_content, cell)
            yield id(cell), Guard(f"closure variable {name}", read, read())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _ABSENT


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Names of globals that code loads, and of variables outside that it stores, in all the
    functions inside it as well.
    """
    loads, stores = set[str](), set[str]()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            loads.add(step.argval)
        elif step.opname in ("STORE_GLOBAL", "STORE_DEREF"):
            stores.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            inner_loads, inner_stores = _names(inner)
            loads |= inner_loads
            stores |= inner_stores
    return loads, stores
