"""The cost model ranks, the search finds what is fast with few trials, and both are repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.loop.ir import Kernel
from pellucid.schedule.choice import Choice
from pellucid.schedule.search.cost_model import CostModel, Floats, fit, rank_correlation
from pellucid.schedule.search.evolve import Trial, search
from pellucid.schedule.search.features import FEATURES, features
from pellucid.schedule.search.records import Known
from pellucid.schedule.search.space import Candidate, Space
from tests.schedule.recipes.test_choose import AVX512, f, only_kernel


def _product(m: int, k: int, n: int) -> Kernel:
    return only_kernel(ops.matmul, f(m, k), f(k, n))


def _simulated(candidate: Candidate) -> float:
    """Seconds on a machine made up: small tiles and few temporaries are fast there, not the rules'
    choices.
    """
    read = dict(zip(FEATURES, features(candidate.kernel, AVX512), strict=True))
    slow = 8 * abs(read["registers"] - 0.2) + 0.2 * read["temp_bytes"] + 0.5 * read["broadcasts"]
    return float(np.exp2(slow))


def _run(kernel: Kernel, trials: int, seed: int, known: Known | None) -> list[Trial]:
    rng = np.random.default_rng(seed)
    return list(search(Space(kernel, AVX512), _simulated, rng, trials, guided=known))


def _known(kernels: list[Kernel]) -> Known:
    trials = [(k.name + str(i), t) for i, k in enumerate(kernels) for t in _run(k, 40, i, None)]
    return Known(
        [t.features for _, t in trials], [t.seconds for _, t in trials], [n for n, _ in trials]
    )


def test_features_tell_schedules_apart() -> None:
    space = Space(_product(96, 80, 112), AVX512)
    ruled = features(space.candidate().kernel, AVX512)
    naive = features(space.kernel, AVX512)
    assert ruled.shape == (len(FEATURES),)
    assert np.isfinite(ruled).all()
    for name in ("estimate", "steps", "instructions"):
        at = FEATURES.index(name)
        assert ruled[at] < naive[at], name
    scattered = features(space.candidate(Choice.of({"height": 1})).kernel, AVX512)
    assert scattered[FEATURES.index("registers")] < ruled[FEATURES.index("registers")]


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 3), (64, 64, 64), (1000, 3, 17)])
def test_features_are_finite(shape: tuple[int, int, int]) -> None:
    space, rng = Space(_product(*shape), AVX512), np.random.default_rng(0)
    for _ in range(5):
        assert np.isfinite(features(space.random(rng).kernel, AVX512)).all()


def test_a_model_learns_an_order_and_carries_it_to_other_kernels() -> None:
    rng = np.random.default_rng(0)
    rows: Floats = rng.random((360, len(FEATURES)))
    seconds = np.exp2(rows[:, 3] - 2 * (rows[:, 5] > 0.5) + rng.normal(0, 0.05, 360))
    groups = [i % 3 for i in range(360)]
    seconds *= np.array([1.0, 100.0, 0.01])[groups]  # kernels of other sizes
    model = fit(rows[:300], seconds[:300], groups[:300])
    same = [i for i in range(300, 360) if groups[i] == 0]
    assert rank_correlation(model.score(rows[same]), seconds[same]) > 0.8
    assert rank_correlation(CostModel().score(rows[same]), seconds[same]) < 0.5


def test_few_measurements_teach_nothing() -> None:
    rows = np.zeros((3, len(FEATURES)))
    assert fit(rows, np.ones(3), [0, 0, 0]) == CostModel()
    assert fit(np.zeros((50, len(FEATURES))), np.ones(50), [0] * 50).trees == ()


def test_rank_correlation() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([10.0, 20, 90])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0]), np.array([3.0])) == 0


def test_the_rule_is_tried_first_and_nothing_twice() -> None:
    trials = _run(_product(96, 80, 112), 20, 0, Known())
    assert trials[0].candidate.choice == Choice()
    texts = [str(t.candidate.kernel) for t in trials]
    assert len(set(texts)) == len(texts) == 20


def test_a_search_is_repeatable() -> None:
    a, b = (_run(_product(96, 80, 112), 16, 5, Known()) for _ in range(2))
    assert [t.candidate.choice for t in a] == [t.candidate.choice for t in b]


def test_guided_search_beats_blind_search_on_shapes_not_seen() -> None:
    known = _known([_product(64, 64, 64), _product(100, 30, 200)])
    ratios = []
    for seed, shape in enumerate([(96, 80, 112), (33, 50, 300), (200, 64, 48)]):
        kernel = _product(*shape)
        blind = min(t.seconds for t in _run(kernel, 12, seed, None))
        guided = min(t.seconds for t in _run(kernel, 12, seed, known))
        ratios.append(blind / guided)
    assert np.exp(np.mean(np.log(ratios))) > 1.1, ratios


def test_seeds_are_tried_and_a_search_can_be_left() -> None:
    space, measured = Space(_product(96, 80, 112), AVX512), []

    def measure(candidate: Candidate) -> float:
        measured.append(candidate)
        return _simulated(candidate)

    seed = Choice.of({"height": 9})
    trials = search(space, measure, np.random.default_rng(0), 50, seeds=[seed])
    found = [next(trials) for _ in range(3)]
    assert [t.candidate.choice for t in found[:2]] == [Choice(), seed]
    assert len(measured) == 3


def test_a_kernel_without_decisions_is_measured_once() -> None:
    kernel = only_kernel(lambda x: ops.add(x, x), f())
    trials = search(Space(kernel, AVX512), lambda _: 1.0, np.random.default_rng(0), 10)
    assert len(list(trials)) == 1


def test_failures_do_not_win() -> None:
    space = Space(_product(96, 80, 112), AVX512)
    rng = np.random.default_rng(0)

    def measure(candidate: Candidate) -> float:
        return 1.0 if candidate.choice == Choice() else float("inf")

    trials = list(search(space, measure, rng, 12, guided=Known()))
    assert min(trials, key=lambda t: t.seconds).candidate.choice == Choice()
