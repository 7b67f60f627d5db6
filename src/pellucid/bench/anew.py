"""Compile a program once more, as if nothing had been compiled before."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pellucid.compile import Compiled, compile_graph
from pellucid.core.config import Config, current_config

_NAMES = itertools.count()
_NO_DONATION: Mapping[int, int] = MappingProxyType({})


def compile_anew(compiled: Compiled, config: Config | None = None, donate: bool = True) -> Compiled:
    """The compilation of the same graph, without any cache.

    Args:
        compiled: what was compiled before.
        config: which passes are off; the process's by default.
        donate: whether outputs may take over inputs' memory, as before.
    """
    used = replace(config or current_config(), cache=False)
    # a name of its own keeps the code apart from all other, in every cache
    target = replace(compiled.target, name=f"{compiled.target.name} {next(_NAMES)}")
    donated = compiled.donated if donate else _NO_DONATION
    return compile_graph(compiled.graph, target, used, donate=donated)
