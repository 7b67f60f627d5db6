"""Module: a function with state, whose attributes are its parameters, buffers and submodules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pellucid.core.dtype import as_dtype
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError, did_you_mean
from pellucid.nn.checkpoint import Array, array_of, load_tensors, save_tensors
from pellucid.tensor.box import STATE
from pellucid.tensor.guards import note_call, note_edit, note_read, watched
from pellucid.tensor.tensor import Buffer, Parameter, Tensor

_CONTAINERS = (list, tuple, set, frozenset, dict)


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@watched
class Module:
    """Base of all layers and models.

    Assign `Parameter`s, `Buffer`s and other Modules as attributes in `__init__` and write
    `forward`; names of parameters are the attribute paths, `encoder.0.weight`. Registration needs
    no `super().__init__()`.
    """

    _training: bool
    _transient: frozenset[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """An empty module in training mode; runs before any `__init__`."""
        module = super().__new__(cls)
        vars(module).update(_training=True, _transient=frozenset())
        return module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`."""
        if STATE.trace is not None:
            note_call(type(self))
            if STATE.convert is not None:
                return STATE.convert(self.forward)(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        _refuse_hidden(type(self).__name__, name, value)
        self._refuse_cycle(name, value)
        before = vars(self).get(name)
        if isinstance(before, Buffer) and value is not None and not isinstance(value, Buffer):
            raise ArgumentError(
                type(self).__name__,
                f"{name} is a {type(before).__name__} and must stay a cell",
                operands={"it": type(value).__name__},
                fix=f"use self.{name}.assign_(value), or assign a Parameter or Buffer",
            )
        object.__setattr__(self, name, value)
        note_edit()
        _name_cells(name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        note_edit()

    def _refuse_cycle(self, name: str, value: Any) -> None:
        """Paths through a module that contains itself would have no end."""
        if isinstance(value, Module) and any(m is self for _, m in value._walk("")):
            raise ArgumentError(
                type(self).__name__,
                f"{name} would contain the module that it is part of",
                fix="keep a weakref.ref to it",
            )

    # what is registered

    @property
    def training(self) -> bool:
        """Whether the module is in training mode. A jitted function that reads it depends on it."""
        return self._training

    @property
    def _registered(self) -> tuple[tuple[str, Module | Buffer], ...]:
        """The modules and cells that are attributes of this one, with the attributes' names."""
        return tuple((n, v) for n, v in vars(self).items() if isinstance(v, (Module, Buffer)))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, with the attributes' names."""
        note_read(self, "_registered")
        return ((n, v) for n, v in self._registered if isinstance(v, Module))

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one."""
        return (m for _, m in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with their paths."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (m for _, m in self.named_modules())

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(_join(prefix, name))

    def _cells(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """Every cell with its path; shared ones under each of their paths."""
        for path, module in self._walk(prefix):
            for name, value in module._registered:
                if isinstance(value, Buffer):
                    yield _join(path, name), value

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its first path."""
        seen: set[int] = set()
        for name, cell in self._cells(prefix):
            if isinstance(cell, Parameter) and id(cell) not in seen:
                seen.add(id(cell))
                yield name, cell

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """Every buffer that is not a parameter, once, with its first path."""
        seen: set[int] = set()
        for name, cell in self._cells(prefix):
            if not isinstance(cell, Parameter) and id(cell) not in seen:
                seen.add(id(cell))
                yield name, cell

    def buffers(self) -> Iterator[Buffer]:
        """Every buffer that is not a parameter, once."""
        return (b for _, b in self.named_buffers())

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Attach a tensor as a buffer; `persistent=False` leaves it out of the state dict."""
        kept = value is None or isinstance(value, Buffer)
        setattr(self, name, value if kept else Buffer(value))
        if not persistent:
            object.__setattr__(self, "_transient", self._transient | {name})

    # mode and gradients

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below it to training mode (or evaluation); returns itself."""
        for module in self.modules():
            object.__setattr__(module, "_training", bool(mode))
        note_edit()
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode: no dropout, running statistics; returns the module."""
        return self.train(False)

    def requires_grad_(self, on: bool = True) -> Self:
        """Freeze (`False`) or free all parameters; returns the module."""
        for p in self.parameters():
            p.requires_grad_(on)
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters():
            p.grad = None

    def apply(self, fn: Callable[[Module], object]) -> Self:
        """Call `fn` on every module, children before parents; returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # state

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """A snapshot of all parameters and persistent buffers by path, named as PyTorch's."""
        return {name: Tensor(cell.numpy()) for name, cell in self._kept(prefix)}

    def _kept(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        for path, module in self._walk(prefix):
            for name, value in module._registered:
                if isinstance(value, Buffer) and name not in module._transient:
                    yield _join(path, name), value

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values into the parameters and buffers; nothing is changed if anything does not fit.

        Args:
            state: tensors or arrays (NumPy, PyTorch) by path.
            strict: every path of the module must be there, and no other.

        Returns:
            The paths that were missing and those that were not expected.

        Raises:
            ArgumentError: it is no mapping of names to tensors, or `strict`, and paths are missing
                or not expected.
            ShapeError: a shape differs.
            DTypeError: a dtype is of another kind.
        """
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            operands = {"it": type(state).__name__}
            fix = "pass what state_dict() gave"
            rule = "takes a mapping of names to tensors"
            raise ArgumentError(
                f"{type(self).__name__}.load_state_dict", rule, operands=operands, fix=fix
            )
        cells = dict(self._kept())
        missing = [name for name in cells if name not in state]
        unexpected = [name for name in state if name not in cells]
        if strict and (missing or unexpected):
            raise _mismatch(type(self).__name__, missing, unexpected, list(cells))
        values = {n: _fitting(n, cells[n], state[n]) for n in cells if n in state}
        for name, array in values.items():
            cells[name].assign_(Tensor(array))
        return LoadResult(missing, unexpected)

    def save(self, path: str | Path) -> None:
        """Write the state dict to a safetensors file, whole or not at all."""
        save_tensors(path, {name: cell for name, cell in self._kept()})

    def load(self, path: str | Path, strict: bool = True) -> LoadResult:
        """Read a state dict from a safetensors file; see `load_state_dict`.

        Raises:
            ArgumentError: the file is damaged, or paths do not match.
            ShapeError, DTypeError: a value does not fit.
        """
        return self.load_state_dict(load_tensors(path), strict)

    # text

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses; subclasses may write it."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({n}): {m!r}".replace("\n", "\n  ") for n, m in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _refuse_hidden(owner: str, name: str, value: Any) -> None:
    """A module inside a plain list would never be trained, and nobody would be told."""
    if isinstance(value, _CONTAINERS) and _holds_cells(value, set()):
        wanted = "ModuleDict" if isinstance(value, dict) else "ModuleList or Sequential"
        raise ArgumentError(
            owner,
            f"{name} is a {type(value).__name__} of modules or parameters, which do not register",
            fix=f"use nn.{wanted}",
        )


def _holds_cells(value: Any, seen: set[int]) -> bool:
    """Whether a module or parameter is inside lists, tuples, sets or dicts, however deep."""
    if not isinstance(value, _CONTAINERS):
        return isinstance(value, (Module, Parameter))
    if id(value) in seen:
        return False
    seen.add(id(value))
    return any(
        _holds_cells(v, seen) for v in (value.values() if isinstance(value, dict) else value)
    )


def _name_cells(name: str, value: Any) -> None:
    """Tell cells their path, which is what they are called in graphs and by `explain`."""
    if isinstance(value, Buffer):
        value.name = name
    elif isinstance(value, Module):
        for path, cell in value._cells(name):
            cell.name = path


def _mismatch(
    owner: str, missing: list[str], unexpected: list[str], known: list[str]
) -> ArgumentError:
    parts = []
    if missing:
        parts.append(f"missing {', '.join(missing)}")
    if unexpected:
        parts.append(f"not expected {', '.join(unexpected)}")
    hint = did_you_mean(unexpected[0], known) if unexpected else ""
    rule = "the state dict does not fit the module: " + "; ".join(parts)
    return ArgumentError(f"{owner}.load_state_dict", rule, fix=hint or "pass strict=False")


def _fitting(name: str, cell: Buffer, value: Any) -> Array:
    """`value` as an array of the cell's type; floats convert to floats, integers to integers."""
    array = array_of("load_state_dict", name, value)
    if array.shape != cell.shape:
        operands = {"the module's": cell.shape, "the state's": array.shape}
        raise ShapeError("load_state_dict", f"{name} has another shape", operands=operands)
    given = as_dtype(array.dtype)
    if given != cell.dtype and (given.is_float != cell.dtype.is_float or given.kind == "bool"):
        dtypes: dict[str, object] = {"the module's": cell.dtype, "the state's": given}
        raise DTypeError("load_state_dict", f"{name} has another kind of dtype", operands=dtypes)
    return array.astype(cell.dtype.numpy)
