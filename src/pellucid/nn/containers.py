"""Modules that hold modules: `Sequential`, `ModuleList`, `ModuleDict`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from pellucid.core.errors import ArgumentError, IndexRangeError, did_you_mean
from pellucid.nn.module import Module


class _Indexed(Module):
    """Children named `0`, `1` and so on."""

    def __init__(self, modules: Iterable[Module]) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a module at the end.

        Raises:
            ArgumentError: it is not a Module.
        """
        if not isinstance(module, Module):
            operands: dict[str, object] = {"it": type(module).__name__}
            raise ArgumentError(type(self).__name__, "holds modules", operands=operands)
        setattr(self, str(len(self)), module)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self.children())
        if isinstance(index, slice):
            return modules[index]
        if not -len(modules) <= index < len(modules):
            rule = f"has {len(modules)} modules"
            raise IndexRangeError(type(self).__name__, rule, operands={"index": index})
        return modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, str(range(len(self))[index]), module)


class Sequential(_Indexed):
    """Modules applied one after the other, each to the result of the one before.

    Args:
        *modules: the modules in order, or one mapping of names to modules.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                setattr(self, name, module)
        else:
            super().__init__(modules)  # type: ignore[arg-type]  # append refuses a mapping

    def forward(self, x: Any) -> Any:
        """The last module's result."""
        for module in self.children():
            x = module(x)
        return x


class ModuleList(_Indexed):
    """A list of modules that registers them; has no `forward` of its own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__(modules)


class ModuleDict(Module):
    """A dict of modules that registers them; has no `forward` of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not name or "." in name or hasattr(type(self), name):
            rule = "a name must be a plain word that is no attribute of ModuleDict"
            raise ArgumentError("ModuleDict", rule, operands={"name": repr(name)})
        setattr(self, name, module)

    def __getitem__(self, name: str) -> Any:
        found = dict(self.named_children())
        if name not in found:
            hint = did_you_mean(name, found)
            raise ArgumentError("ModuleDict", f"has no module named {name!r}", fix=hint)
        return found[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        """The names in order."""
        return [n for n, _ in self.named_children()]

    def values(self) -> list[Module]:
        """The modules in order."""
        return list(self.children())

    def items(self) -> list[tuple[str, Module]]:
        """Names and modules in order."""
        return list(self.named_children())
