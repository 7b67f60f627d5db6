"""A parameter group: settings, and how many steps its parameters have made.

Learning rates and counts are cells, so that neither schedules nor steps recompile anything. One
count serves a whole group, while its parameters keep step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.core.errors import ArgumentError, did_you_mean
from pellucid.tensor.box import STATE
from pellucid.tensor.guards import forget_read, note_edit, note_read
from pellucid.tensor.tensor import Buffer, Parameter
from pellucid.tensor.trace import is_written, tie_to_contents

_DECIDES_STATE = frozenset({"momentum", "amsgrad", "centered"})


class ParamGroup:
    """Parameters that share settings. `group["lr"]` and `group.lr` both work, reading and writing.

    The learning rate lives in a cell, `lr_cell`; a jitted step depends on the other settings and is
    compiled again when one changes.
    """

    params: list[Parameter]
    lr_cell: Buffer
    step_cell: Buffer
    step_cells: dict[Parameter, Buffer]

    def __init__(self, params: list[Parameter], settings: Mapping[str, Any]) -> None:
        lr_cell = Buffer(np.array(settings["lr"], np.float64), name="lr")
        vars(self).update(settings, params=params, lr_cell=lr_cell)
        vars(self).update(step_cell=_counter(), step_cells={})
        del vars(self)["lr"]

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self.lr_cell.numpy())

    @lr.setter
    def lr(self, value: float) -> None:
        if STATE.trace is not None:
            raise ArgumentError(
                "optimizer",
                "a learning rate cannot be set inside a jitted function",
                fix="set it, or call scheduler.step(), between steps",
            )
        self.lr_cell.assign_(np.array(float(value), np.float64))

    def __setattr__(self, name: str, value: Any) -> None:
        self.refuse_other_state({name: value})
        object.__setattr__(self, name, value)
        note_edit()

    def refuse_other_state(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that need other state than there is.

        Raises:
            ArgumentError: one switches a part of the state on or off.
        """
        for name in _DECIDES_STATE & settings.keys():
            if bool(vars(self)[name]) != bool(settings[name]):
                raise ArgumentError(
                    "optimizer",
                    f"{name} decides what state there is and cannot be switched on or off later",
                    fix="make a new optimizer",
                )

    def setting(self, name: str) -> Any:
        """A setting's value, on which a jitted step then depends."""
        note_read(self, name)
        return getattr(self, name)

    def keys(self) -> list[str]:
        """Names of the settings, `params` included."""
        return ["lr", *(n for n in vars(self) if not n.endswith(("_cell", "_cells")))]

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            hint = did_you_mean(name, self.keys())
            raise ArgumentError("optimizer", f"a group has no setting {name!r}", fix=hint)
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self[name]  # raises on an unknown name
        setattr(self, name, value)

    def __contains__(self, name: str) -> bool:
        return name in self.keys()

    def __repr__(self) -> str:
        settings = ", ".join(f"{n}={self[n]!r}" for n in self.keys() if n != "params")
        return f"ParamGroup({len(self.params)} parameters, {settings})"

    # how many steps

    def step_of(self, p: Parameter) -> Buffer:
        """The cell that counts a parameter's steps: those in which it had a gradient.

        All parameters share the group's, `step_cell`, until one is left out of a step; from then on
        it counts in a cell of its own, shared by those that were left out with it.
        """
        return self.step_cells.get(p, self.step_cell)

    def count_step(self, moving: Sequence[Parameter]) -> None:
        """Count a step of these parameters; the counts of the group's others stay."""
        if len(moving) < len(self.params):
            self._part(moving)
        # only now: a program does not depend on how it was before its first step
        note_read(self, "step_cells")
        for cell in dict.fromkeys(map(self.step_of, moving)):
            cell.assign_(cell + 1.0)

    def _part(self, moving: Sequence[Parameter]) -> None:
        """Give cells of their own to those who stay behind and shared one with those who move."""
        movers = set(moving)
        counting = {self.step_of(p) for p in moving}
        twins: dict[Buffer, Buffer] = {}
        for p in self.params:
            cell = self.step_of(p)
            if p not in movers and cell in counting:
                if cell not in twins:
                    twins[cell] = _twin(cell)
                self.step_cells[p] = twins[cell]
        if twins:
            note_edit()
            # what is being recorded is as true of the new cells: tie it to them, not to the old
            forget_read(self, "step_cells")

    def set_steps(self, steps: Sequence[float]) -> None:
        """Set the parameters' counts, in their order. Those that share a cell go on doing so where
        their counts agree.
        """
        cells: dict[tuple[Buffer, float], Buffer] = {}
        taken: set[Buffer] = set()
        for p, count in zip(self.params, steps, strict=True):
            cell = self.step_of(p)
            if (cell, count) not in cells:
                cells[cell, count] = _counter() if cell in taken else cell
                taken.add(cell)
                cells[cell, count].assign_(np.array(count, np.float64))
            if cells[cell, count] is not cell:
                self.step_cells[p] = cells[cell, count]
        note_edit()


def _counter(start: float = 0.0) -> Buffer:
    return Buffer(np.array(start, np.float64), name="step")


def _twin(cell: Buffer) -> Buffer:
    """A new cell with the same count."""
    twin = _counter(float(cell.shared()))
    if is_written(cell):
        twin.assign_(cell)
        # what is being recorded runs once: the next time, the twin is there from the start
        tie_to_contents(cell)
    return twin
