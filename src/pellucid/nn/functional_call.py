"""functional_call: a module as a function of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pellucid.core.errors import ArgumentError, DTypeError, ShapeError, did_you_mean
from pellucid.nn.module import Module
from pellucid.tensor.guards import note_edit
from pellucid.tensor.tensor import Buffer, Tensor

Place = tuple[Module, str, Buffer]


def functional_call(module: Module, params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """`module(*args, **kwargs)` with other values for some of its parameters and buffers.

    So a model is a function that `grad`, `vmap` and `jvp` can take: per-sample gradients are
    `vmap(grad(lambda params, x, y: loss(functional_call(model, params, x), y)), (None, 0, 0))`.

    Args:
        module: any module; it is as before afterwards.
        params: tensors by path, as of `dict(module.named_parameters())`. A parameter that the
            module has in several places is replaced in all of them.
        args: the module's arguments.
        kwargs: likewise.

    Returns:
        What the module returns.

    Raises:
        ArgumentError: the module has no parameter or buffer of a name.
        ShapeError: a value has another shape than the parameter.
        DTypeError: it has another kind of dtype.
    """
    with _replaced(module, params):
        return module(*args, **kwargs)


@contextmanager
def _replaced(module: Module, params: Mapping[str, Any]) -> Iterator[None]:
    places = _places(module)
    chosen: dict[int, Tensor] = {}
    for name, value in params.items():
        if name not in places:
            fix = did_you_mean(name, list(places))
            rule = f"the module has no parameter or buffer {name!r}"
            raise ArgumentError("functional_call", rule, fix=fix)
        chosen[id(places[name][2])] = _fitting(name, places[name][2], value)
    swapped = [(m, n, cell) for m, n, cell in places.values() if id(cell) in chosen]
    try:
        for owner, name, cell in swapped:
            object.__setattr__(owner, name, chosen[id(cell)])
        note_edit()  # compiled functions look again at what they read
        yield
    finally:
        for owner, name, cell in swapped:
            object.__setattr__(owner, name, cell)
        note_edit()


def _places(module: Module) -> dict[str, Place]:
    """Where each cell is, by path."""
    return {
        f"{path}.{name}" if path else name: (owner, name, value)
        for path, owner in module._walk("")
        for name, value in vars(owner).items()
        if isinstance(value, Buffer)
    }


def _fitting(name: str, cell: Buffer, value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else Tensor(value)
    if tensor.shape != cell.shape:
        operands: dict[str, object] = {"the module's": cell.shape, "it": tensor.shape}
        raise ShapeError("functional_call", f"{name} has another shape", operands=operands)
    if tensor.dtype.is_inexact != cell.dtype.is_inexact:
        dtypes: dict[str, object] = {"the module's": cell.dtype, "it": tensor.dtype}
        raise DTypeError("functional_call", f"{name} has another kind of dtype", operands=dtypes)
    return tensor
