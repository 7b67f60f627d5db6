"""The user's own containers: classes that jit and the transforms look into."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from pellucid.core.errors import ArgumentError
from pellucid.tensor.tree import REGISTRY, Registered

Class = TypeVar("Class", bound=type)


def register_pytree_node(
    cls: type,
    flatten: Callable[[Any], tuple[Sequence[Any], Any]],
    unflatten: Callable[[Any, Sequence[Any]], Any],
) -> None:
    """Make a class a container of tensors: `jit`, `grad`, `vmap` and `scan` look into it.

    Args:
        cls: the class; its subclasses are registered on their own.
        flatten: from an object to its children (tensors or containers) and everything else that
            makes it, which must be hashable and is part of the structure.
        unflatten: from that and new children to an object. It gets placeholders too, so it should
            not look at the children.

    Raises:
        ArgumentError: the class is a container already.
    """
    REGISTRY.add(cls, Registered(flatten, unflatten))


def register_pytree_node_class(cls: Class) -> Class:
    """As a decorator: for a class with methods `tree_flatten()` and `tree_unflatten(aux, children)`
    (a class method).

    Raises:
        ArgumentError: it lacks one of them, or is a container already.
    """
    for name in ("tree_flatten", "tree_unflatten"):
        if not hasattr(cls, name):
            raise ArgumentError(
                "register_pytree_node_class",
                f"the class has no method {name}",
                operands={"class": cls.__name__},
            )
    methods: Any = cls
    register_pytree_node(cls, methods.tree_flatten, methods.tree_unflatten)
    return cls


@overload
def register_dataclass(cls: Class, *, static: Sequence[str] = ()) -> Class: ...
@overload
def register_dataclass(
    cls: None = None, *, static: Sequence[str] = ()
) -> Callable[[Class], Class]: ...
def register_dataclass(cls: Any = None, *, static: Sequence[str] = ()) -> Any:
    """Make a dataclass a container: its fields are children, or part of the structure.

    Use as `@register_dataclass`, `@register_dataclass(static=("name",))` above `@dataclass`, or
    as a function. Objects are built again field by field, without `__init__`.

    Args:
        cls: a dataclass.
        static: fields that are no data but settings (hashable); also those declared with
            `field(metadata={"static": True})`.

    Raises:
        ArgumentError: it is no dataclass, or has no such field.
    """
    if cls is None:
        return lambda c: register_dataclass(c, static=static)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        rule, fix = "takes a dataclass", "put @dataclass under @register_dataclass"
        raise ArgumentError("register_dataclass", rule, operands={"it": repr(cls)}, fix=fix)
    fields = {f.name: f.name in static or f.metadata.get("static") for f in dataclasses.fields(cls)}
    unknown = sorted(set(static) - set(fields))
    if unknown:
        operands: dict[str, object] = {"static": unknown, "fields": list(fields)}
        raise ArgumentError("register_dataclass", "no such field", operands=operands)
    data = tuple(n for n, fixed in fields.items() if not fixed)
    settings = tuple(n for n, fixed in fields.items() if fixed)

    def take(it: Any) -> tuple[list[Any], Any]:
        return [getattr(it, n) for n in data], tuple(getattr(it, n) for n in settings)

    def build(values: Any, children: Sequence[Any]) -> Any:
        made = object.__new__(cls)
        for names, items in ((data, children), (settings, values)):
            for name, item in zip(names, items, strict=True):
                object.__setattr__(made, name, item)
        return made

    REGISTRY.add(cls, Registered(take, build, data))
    return cls
