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
from pellucid.nn.checkpoint import array_of
from pellucid.optim.group import ParamGroup
from pellucid.optim.snapshot import check_number, groups_of, plain_setting, step_in
from pellucid.tensor.guards import note_edit, note_read
from pellucid.tensor.tensor import Buffer, Parameter, Tensor, no_grad

Params = Iterable[Parameter] | Iterable[Mapping[str, Any]] | Iterable[tuple[str, Parameter]]
_NOT_NEGATIVE = (
    "lr", "momentum", "weight_decay", "eps", "dampening", "lr_decay", "initial_accumulator_value",
)  # fmt: skip


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
        self.defaults = {n: plain_setting(v) for n, v in defaults.items()}
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
        own = {n: plain_setting(v) for n, v in group.items() if n != "params"}
        settings = {**self.defaults, **own}
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
        for name in _NOT_NEGATIVE:
            if name in settings:
                check_number(self._name, name, settings[name])

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
                group.count_step([p for p, _ in chosen])
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
        """Continue from a snapshot, ours or PyTorch's; nothing is changed if anything does not fit.

        Parameters of which the snapshot says nothing start afresh. Settings it does not have stay.

        Raises:
            ArgumentError: it is no snapshot, a setting is out of range or needs other state, or
                the groups or the names of the state differ.
            ShapeError: a shape differs.
        """
        parts = groups_of(self._name, state, [len(g.params) for g in self.param_groups])
        pairs = list(zip(self.param_groups, parts, strict=True))
        settings = [self._settings(group, part.settings) for group, part in pairs]
        loaded = [
            [
                self._fitting(p, group, *given)
                for p, given in zip(group.params, part.states, strict=True)
            ]
            for group, part in pairs
        ]
        # everything fits: from here on nothing is refused
        for group, chosen, found in zip(self.param_groups, settings, loaded, strict=True):
            for name, value in chosen.items():
                group[name] = value
            group.set_steps([step for step, _ in found])
            for p, (_, arrays) in zip(group.params, found, strict=True):
                for name, array in arrays.items():
                    self.state[p][name].assign_(array)

    def _settings(self, group: ParamGroup, given: Mapping[str, Any]) -> dict[str, Any]:
        """A snapshot's settings that the group has, checked."""
        names = [n for n in group.keys() if n in given and n != "params"]
        chosen = {n: plain_setting(given[n]) for n in names}
        self.check({**{n: group[n] for n in group.keys()}, **chosen})
        group.refuse_other_state(chosen)
        return chosen

    def _fitting(
        self, p: Parameter, group: ParamGroup, number: Any, given: Mapping[str, Any]
    ) -> tuple[float, dict[str, Tensor]]:
        """A parameter's number of steps and its state, from a snapshot or as at the start."""
        step = step_in(self._name, number, given)
        if all(given.get(name) is None for name in self.state[p]):
            return step, {n: Tensor(a) for n, a in self.initial_state(p, group).items()}
        found = {}
        for name, cell in self.state[p].items():
            if given.get(name) is None:
                raise ArgumentError(self._name, f"the snapshot's parameter {number} has no {name}")
            array = array_of(self._name, f"{name} of parameter {number}", given[name])
            if array.shape != cell.shape:
                shapes = {"the optimizer's": cell.shape, "the snapshot's": array.shape}
                rule = f"{name} of parameter {number} has another shape"
                raise ShapeError(self._name, rule, operands=shapes)
            found[name] = Tensor(array.astype(cell.dtype.numpy))
        return step, found

    def __repr__(self) -> str:
        groups = "\n  ".join(map(repr, self.param_groups))
        return f"{self._name}(\n  {groups}\n)"


def _parameter(item: Any) -> Any:
    """A parameter, also out of a `(name, parameter)` pair."""
    return item[1] if isinstance(item, tuple) and len(item) == 2 else item
