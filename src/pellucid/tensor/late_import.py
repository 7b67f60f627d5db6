"""Modules of ours that follow another library's import, before or after Pellucid's own.

einops asks subclasses of a class of its own what a tensor is. They can be made only where einops
is, and Pellucid must not import it; so the subclass comes along when the user imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Followed(Loader):
    """A module's own loader, after which another module is imported."""

    def __init__(self, loader: Loader, follower: str) -> None:
        self.loader, self.follower = loader, follower

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        importlib.import_module(self.follower)


class _Watch(MetaPathFinder):
    """Finds nothing itself; lets a module be followed when it is found, once."""

    def __init__(self, awaited: str, follower: str) -> None:
        self.awaited, self.follower = awaited, follower

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.awaited:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Followed(spec.loader, self.follower)
        return spec


def follow(awaited: str, follower: str) -> None:
    """Import a module of ours right after another one, or now if that has been imported.

    Args:
        awaited: the other library's module.
        follower: ours.
    """
    if awaited in sys.modules:
        importlib.import_module(follower)
    else:
        sys.meta_path.insert(0, _Watch(awaited, follower))
