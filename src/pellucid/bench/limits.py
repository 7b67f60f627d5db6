"""The machine's limit for a row's work: the roofline, from limits measured in the same minutes.

Enters: a `Load` and a thread count. Leaves: the least seconds the work can take. Speed drifts on
shared machines, so the limit that binds is also measured in turns with the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pellucid.bench.row import Load
from pellucid.bench.timing import Figure
from pellucid.compile import this_machine
from pellucid.runtime.machine import MachineLimits, arithmetic_call, bandwidth_call

PROBE = "limit"
_PROBE_ROUNDS = 30_000


@dataclass(frozen=True, slots=True)
class Roof:
    """What bounds a row.

    Attributes:
        name: `FMA`, or the level of memory whose bandwidth it is.
        rate: operations or bytes per second.
        amount: operations or bytes of the work.
    """

    name: str
    rate: float
    amount: float

    @property
    def seconds(self) -> float:
        """The least the work can take."""
        return self.amount / self.rate


def find_roof(load: Load, limits: MachineLimits) -> Roof | None:
    """The binding limit, by what was measured before; None for work that asks for nothing."""
    nbytes = load.read + load.written
    level, threads = limits.level(nbytes), limits.threads
    speeds = limits.copy if _writes(load) else limits.read
    memory = Roof(level, speeds[level][threads], nbytes)
    multiply = Roof("FMA", limits.flops[threads], load.flops)
    roof = max(memory, multiply, key=lambda r: r.seconds)
    return roof if roof.amount else None


def _writes(load: Load) -> bool:
    """Whether the bandwidth of copying is the limit, not that of reading."""
    return 10 * load.written > load.read + load.written


def probe(
    roof: Roof | None, load: Load, threads: int
) -> Mapping[str, tuple[Callable[[], object], float]]:
    """A call that works at the limit, and the operations or bytes of one call of it.

    Only for limits that the row's time is near to: arithmetic, and memory itself.
    """
    if roof is None or roof.seconds < 2e-6:
        return {}
    if roof.name == "FMA":
        return {PROBE: arithmetic_call(this_machine(), threads, _PROBE_ROUNDS)}
    if roof.name == "DRAM":
        return {PROBE: bandwidth_call(this_machine(), threads, copy=_writes(load))}
    return {}


def seen(roof: Roof, amount: float, figure: Figure) -> Roof:
    """The limit as seen beside the candidates, at its best."""
    return Roof(roof.name, amount / figure.best, roof.amount)
