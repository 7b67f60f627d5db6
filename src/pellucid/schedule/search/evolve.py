"""The search: candidates bred from the best so far, ranked by the cost model, a few measured.

Enters: a space, a function that measures, measurements of other kernels. Leaves: `Trial`s, the
rule's own first. Each round breeds many candidates (mutants and crossings of the fastest measured,
and random ones), measures the few that the model likes best and a random one, and teaches the
model. What is measured, and on what, is the caller's: nothing here runs code.
Source: Zheng et al., "Ansor" (2020): evolutionary search with a learnt cost model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.loop.key import kernel_key
from pellucid.schedule.choice import Choice
from pellucid.schedule.search.cost_model import CostModel, Floats, fit
from pellucid.schedule.search.features import features
from pellucid.schedule.search.records import Known
from pellucid.schedule.search.space import Candidate, Space

_BRED, _MEASURED, _AT_RANDOM = 16, 4, 1  # per round; how many of the measured are drawn blindly
_PARENTS = 4
_FRESH, _CROSSED = 0.3, 0.3  # of those bred: random ones, crossings; the others are mutants

Measure = Callable[[Candidate], float]


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that was measured: its features, and seconds (infinite where it failed)."""

    candidate: Candidate
    features: Floats
    seconds: float


def search(
    space: Space,
    measure: Measure,
    rng: np.random.Generator,
    trials: int,
    *,
    seeds: Sequence[Choice] = (),
    guided: Known | None = None,
) -> Iterator[Trial]:
    """Measure up to `trials` candidates, one each time the next is asked for; first the rule's.

    Args:
        space: the kernel's.
        measure: seconds of a candidate, infinite where it failed.
        rng: all chance comes from it.
        trials: the most candidates to measure, the rule's and the seeds included.
        seeds: choices to begin with, such as those found before.
        guided: measurements of other kernels (or none), for the model that guides; without it, all
            candidates are drawn blindly.
    """
    state = _State(space, measure, rng, guided)
    yield from state.measure([space.ruled, *(space.candidate(c) for c in seeds)], trials)
    while len(state.trials) < trials:
        fresh = state.fresh()
        if not fresh:
            return
        yield from state.measure(fresh, trials)


class _State:
    """What a search knows: the trials, and the kernels it has seen."""

    def __init__(
        self, space: Space, measure: Measure, rng: np.random.Generator, known: Known | None
    ) -> None:
        self.space, self._measure, self.rng, self.known = space, measure, rng, known
        self.trials: list[Trial] = []
        self._seen: set[str] = set()

    def measure(self, candidates: Sequence[Candidate], most: int) -> Iterator[Trial]:
        """Measure candidates that give code not seen before."""
        for candidate in candidates:
            key = kernel_key(candidate.kernel)
            if key in self._seen or len(self.trials) >= most:
                continue
            self._seen.add(key)
            row = features(candidate.kernel, self.space.target)
            trial = Trial(candidate, row, self._measure(candidate))
            self.trials.append(trial)
            yield trial

    def fresh(self) -> list[Candidate]:
        """The next candidates to measure; none where all that are bred were seen."""
        bred: dict[str, Candidate] = {}
        for _ in range(3 * _BRED):
            if len(bred) >= (_BRED if self.known is not None else _MEASURED):
                break
            candidate = self._breed()
            key = kernel_key(candidate.kernel)
            if key not in self._seen:
                bred.setdefault(key, candidate)
        found = list(bred.values())
        if self.known is None or len(found) <= _MEASURED:
            return found
        rows = np.array([features(c.kernel, self.space.target) for c in found])
        order = [int(i) for i in np.argsort(self._model().score(rows), kind="stable")]
        chosen = order[: _MEASURED - _AT_RANDOM]
        rest = order[_MEASURED - _AT_RANDOM :]
        chosen += [rest[int(self.rng.integers(len(rest)))] for _ in range(_AT_RANDOM)]
        return [found[i] for i in chosen]

    def _breed(self) -> Candidate:
        lot = self.rng.random()
        parents = sorted(self.trials, key=lambda t: t.seconds)[:_PARENTS]
        if self.known is None or lot < _FRESH or not parents:
            return self.space.random(self.rng)
        first = parents[int(self.rng.integers(len(parents)))].candidate
        if lot < _FRESH + _CROSSED and len(parents) > 1:
            other = parents[int(self.rng.integers(len(parents)))].candidate
            return self.space.mutated(self.space.crossed(first, other, self.rng), self.rng)
        return self.space.mutated(first, self.rng)

    def _model(self) -> CostModel:
        """Fitted to other kernels' measurements and this one's so far."""
        known = self.known or Known()
        own = [t for t in self.trials if np.isfinite(t.seconds)]
        rows = [*known.rows, *(t.features for t in own)]
        seconds = [*known.seconds, *(t.seconds for t in own)]
        groups = [*known.kernels, *("" for _ in own)]
        if not rows:
            return CostModel()
        return fit(np.array(rows), np.array(seconds), groups)
