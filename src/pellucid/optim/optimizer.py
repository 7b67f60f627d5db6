"""What all optimisers share: parameter groups, state in cells, state dicts.

An update rule is a function of graph values, from a parameter, its gradient and its state to their
new values; it runs as one program per parameter eagerly, and as part of the step's program under
`jit`. State and learning rates are cells, so that neither steps nor schedules recompile anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.core.errors import ArgumentError, ShapeError, did_you_mean
from pellucid.tensor.box import STATE
from pellucid.tensor.guards import note_edit, note_read
from pellucid.tensor.tensor import Buffer, Parameter, Tensor, no_grad

Params = Iterable[Parameter] | Iterable[Mapping[str, Any]] | Iterable[tuple[str, Parameter]]


_CELLS = frozenset({"lr_cell", "step_cell", "lag_cells"})
_DECIDES_STATE = frozenset({"momentum", "amsgrad", "centered"})


class ParamGroup:
    """Parameters that share settings. `group["lr"]` and `group.lr` both work, reading and writing.

    The learning rate lives in a cell, `lr_cell`; a jitted step depends on the other settings and is
    compiled again when one changes.

    `step_cell` counts the group's steps. Parameters that had no gradient in some of them are
    behind: `lag_cells` counts those steps, once for all parameters that were left out together.
    """

    params: list[Parameter]
    lr_cell: Buffer
    step_cell: Buffer
    lag_cells: dict[frozenset[Parameter], Buffer]

    def __init__(self, params: list[Parameter], settings: Mapping[str, Any]) -> None:
        lr_cell = Buffer(np.array(settings["lr"], np.float64), name="lr")
        step_cell = _counter("step")
        vars(self).update(settings, params=params, lr_cell=lr_cell, step_cell=step_cell)
        vars(self)["lag_cells"] = {}
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
        if name in _DECIDES_STATE and bool(vars(self)[name]) != bool(value):
            raise _decides_state(name)
        object.__setattr__(self, name, value)
        note_edit()

    def setting(self, name: str) -> Any:
        """A setting's value, on which a jitted step then depends."""
        note_read(self, name)
        return getattr(self, name)

    def count_step(self) -> None:
        """One step more, of all parameters that have a gradient."""
        left_out = frozenset(p for p in self.setting("params") if p.grad is None)
        if left_out:
            cell = self._lag(left_out)
            cell.assign_(cell + 1.0)
        note_read(self, "lag_cells")
        self.step_cell.assign_(self.step_cell + 1.0)

    def step_of(self, p: Parameter) -> Tensor:
        """How many steps a parameter has made, a float64 scalar."""
        steps: Tensor = self.step_cell
        for left_out, lag in self.lag_cells.items():
            if p in left_out:
                steps = steps - lag
        return steps

    def set_steps(self, steps: Mapping[Parameter, float]) -> None:
        """Let each parameter have made so many steps."""
        most = max(steps.values(), default=0.0)
        self.step_cell.assign_(np.array(most))
        behind: dict[float, set[Parameter]] = {}
        for p, count in steps.items():
            behind.setdefault(most - count, set()).add(p)
        for cell in self.lag_cells.values():
            cell.assign_(np.array(0.0))
        for lag, left_out in behind.items():
            if lag:
                self._lag(frozenset(left_out)).assign_(np.array(lag))

    def _lag(self, left_out: frozenset[Parameter]) -> Buffer:
        if left_out not in self.lag_cells:
            self.lag_cells[left_out] = _counter("lag")
            note_edit()
        return self.lag_cells[left_out]

    def keys(self) -> list[str]:
        """Names of the settings, `params` included."""
        return ["lr", *(n for n in vars(self) if n not in _CELLS)]

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


class Optimizer:
    """Base of the optimisers.

    Args:
        params: parameters, named parameters, or mappings with `params` and settings of their own.
        defaults: the settings of groups that do not say otherwise.

    Raises:
        ArgumentError: there are no parameters, one is given twice or is no Parameter, or a setting
            is unknown or out of range.
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, params: Params, defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[ParamGroup] = []
        self.state: dict[Parameter, dict[str, Buffer]] = {}
        if not isinstance(params, Iterable):
            operands = {"it": type(params).__name__}
            fix = "pass model.parameters()"
            raise ArgumentError(self._name, "takes parameters", operands=operands, fix=fix)
        given: list[Any] = list(params)
        if not given:
            raise ArgumentError(self._name, "needs at least one parameter")
        if isinstance(given[0], Mapping):
            for group in given:
                self.add_param_group(group)
        else:
            self.add_param_group({"params": given})

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with settings of their own.

        Raises:
            ArgumentError: as the constructor.
        """
        unknown = [n for n in group if n != "params" and n not in self.defaults]
        if unknown:
            hint = did_you_mean(unknown[0], self.defaults)
            raise ArgumentError(self._name, f"has no setting {unknown[0]!r}", fix=hint)
        given = group.get("params", ())
        params = [given] if isinstance(given, Parameter) else [_parameter(p) for p in given]
        for i, p in enumerate(params):
            self._check_parameter(p, params[:i])
        settings = {**self.defaults, **{n: v for n, v in group.items() if n != "params"}}
        self.check(settings)
        made = ParamGroup(params, settings)
        self.param_groups.append(made)
        note_edit()
        for p in params:
            self.state[p] = {
                name: Buffer(array, name=f"{name}.{p.name}")
                for name, array in self.initial_state(p, made).items()
            }

    def _check_parameter(self, p: object, before: Sequence[Parameter]) -> None:
        if not isinstance(p, Parameter):
            operands: dict[str, object] = {"it": type(p).__name__}
            rule = "optimises Parameters"
            raise ArgumentError(self._name, rule, operands=operands, fix="pass model.parameters()")
        if p in self.state or any(p is other for other in before):
            raise ArgumentError(self._name, f"the parameter {p.name or p.type} is given twice")

    # what an optimiser writes

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings out of range."""
        for name in (
            "lr",
            "momentum",
            "weight_decay",
            "eps",
            "dampening",
            "lr_decay",
            "initial_accumulator_value",
        ):
            if name in settings and not settings[name] >= 0:
                operands = {name: settings[name]}
                raise ArgumentError(self._name, f"{name} must be >= 0", operands=operands)

    def initial_state(self, p: Parameter, group: ParamGroup) -> dict[str, np.ndarray[Any, Any]]:
        """The state of one parameter before the first step, by name."""
        return {}

    def update(self, p: Parameter, grad: Tensor, group: ParamGroup) -> Sequence[Tensor]:
        """The parameter's new value, then its state's, in the order of `self.state[p]`."""
        raise NotImplementedError(f"{self._name} has no update")

    # what is called

    def step(self) -> None:
        """Move every parameter that has a gradient by one step."""
        note_read(self, "param_groups")
        with no_grad():
            for group in self.param_groups:
                chosen = [(p, g) for p in group.setting("params") if (g := p.grad) is not None]
                if not chosen:
                    continue
                group.count_step()
                for p, grad in chosen:
                    value, *state = self.update(p, grad, group)
                    p.assign_(value)
                    for cell, new in zip(self.state[p].values(), state, strict=True):
                        cell.assign_(new)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group.params:
                p.grad = None

    # state

    def _numbered(self) -> Iterator[tuple[int, ParamGroup, Parameter]]:
        pairs = ((g, p) for g in self.param_groups for p in g.params)
        return ((i, g, p) for i, (g, p) in enumerate(pairs))

    def state_dict(self) -> dict[str, Any]:
        """A snapshot in PyTorch's form: `state` by parameter number, `param_groups`."""
        state: dict[int, dict[str, Tensor]] = {}
        first = 0
        groups = []
        for i, group, p in self._numbered():
            cells = {n: Tensor(c.numpy()) for n, c in self.state[p].items()}
            state[i] = {"step": Tensor(group.step_of(p).numpy()), **cells}
        for group in self.param_groups:
            numbers = list(range(first, first + len(group.params)))
            first += len(numbers)
            groups.append(
                {n: group[n] for n in group.keys() if n != "params"} | {"params": numbers}
            )
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a snapshot; nothing is changed if anything does not fit.

        Raises:
            ArgumentError: the groups or the names of the state differ.
            ShapeError: a shape differs.
        """
        self._check_snapshot(state)
        groups, states = state["param_groups"], state["state"]
        sizes = [len(g["params"]) for g in groups]
        if sizes != [len(g.params) for g in self.param_groups]:
            operands: dict[str, object] = {"parameters per group": sizes}
            raise ArgumentError(self._name, "the snapshot has other groups", operands=operands)
        loaded = [(p, self._fitting(i, p, states.get(i, {}))) for i, _, p in self._numbered()]
        settings = [
            self._settings(group, given)
            for group, given in zip(self.param_groups, groups, strict=True)
        ]
        steps = {p: _steps_made(states.get(i, {})) for i, _, p in self._numbered()}
        for group, new in zip(self.param_groups, settings, strict=True):
            for name, value in new.items():
                group[name] = value
            group.set_steps({p: steps[p] for p in group.params})
        for p, arrays in loaded:
            for name, array in arrays.items():
                self.state[p][name].assign_(array)

    def _check_snapshot(self, state: Any) -> None:
        parts = isinstance(state, Mapping) and {"state", "param_groups"} <= set(state)
        good = (
            parts
            and isinstance(state["state"], Mapping)
            and isinstance(state["param_groups"], Sequence)
            and all(isinstance(g, Mapping) and "params" in g for g in state["param_groups"])
        )
        if not good:
            rule = "a snapshot has `state` by number and a list of `param_groups` with `params`"
            operands: dict[str, object] = {"it": type(state).__name__}
            raise ArgumentError(self._name, rule, operands=operands, fix="pass a state_dict()")

    def _settings(self, group: ParamGroup, given: Mapping[str, Any]) -> dict[str, Any]:
        """A snapshot's settings for a group, checked; those that only others know are left out."""
        new = {n: given[n] for n in group.keys() if n in given and n != "params"}
        new = {n: tuple(v) if isinstance(v, list) else v for n, v in new.items()}
        self.check({**{n: group[n] for n in group.keys()}, **new})
        for name in _DECIDES_STATE & set(new):
            if bool(group[name]) != bool(new[name]):
                raise _decides_state(name)
        return new

    def _fitting(self, i: int, p: Parameter, given: Mapping[str, Any]) -> dict[str, Tensor]:
        """The state for one parameter from a snapshot, checked; empty where there was none yet."""
        found = {}
        for name, cell in self.state[p].items():
            if name not in given:
                if not given:
                    continue
                raise ArgumentError(self._name, f"the snapshot's parameter {i} has no {name}")
            value = given[name]
            array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
            if array.shape != cell.shape:
                shapes = {"the optimizer's": cell.shape, "the snapshot's": array.shape}
                rule = f"{name} of parameter {i} has another shape"
                raise ShapeError(self._name, rule, operands=shapes)
            found[name] = Tensor(array.astype(cell.dtype.numpy))
        return found

    def __repr__(self) -> str:
        groups = "\n  ".join(map(repr, self.param_groups))
        return f"{self._name}(\n  {groups}\n)"


def _parameter(item: Any) -> Any:
    """A parameter, also out of a `(name, parameter)` pair."""
    return item[1] if isinstance(item, tuple) and len(item) == 2 else item


def _counter(name: str) -> Buffer:
    return Buffer(np.array(0.0, np.float64), name=name)


def _decides_state(name: str) -> ArgumentError:
    return ArgumentError(
        "optimizer",
        f"{name} decides what state there is and cannot be switched on or off later",
        fix="make a new optimizer",
    )


def _steps_made(state: Mapping[str, Any]) -> float:
    """The steps of a parameter from its part of a snapshot; PyTorch's SGD does not tell them, but
    there is state only after the first.
    """
    return float(state["step"]) if "step" in state else float(bool(state))
