from __future__ import annotations

import pytest

from pellucid.bench.goals import describe, judge, quantity
from pellucid.bench.row import Goal
from tests.bench.rows import figures


@pytest.mark.parametrize(
    ("goal", "medians", "floor", "reached"),
    [
        (Goal(ratio=2.0), {"ours": 1.0, "torch": 2.0, "jax": 3.0}, 0.0, True),
        (Goal(ratio=2.0), {"ours": 1.0, "torch": 1.9, "jax": 3.0}, 0.0, False),
        (Goal(ratio=2.0), {"ours": 1.0}, 0.0, None),
        (Goal(peers={"jax": 2.0}), {"ours": 1.0, "torch": 1.0, "jax": 2.5}, 0.0, True),
        (Goal(peers={"jax": 2.0}), {"ours": 1.0, "torch": 9.0}, 0.0, None),
        (Goal(peers={"jax": 2.0, "torch": 2.0}), {"ours": 1.0, "torch": 1.0}, 0.0, False),
        # the limit leaves 1.5x: 90 % of it counts instead of 2x
        (Goal(ratio=2.0), {"ours": 1.0, "torch": 1.4}, 0.92, True),
        (Goal(ratio=2.0), {"ours": 1.0, "torch": 1.4}, 0.88, False),
        (Goal(ratio=2.0), {"ours": 1.0, "torch": 1.4}, 0.5, False),
        (Goal(share=0.85), {"ours": 1.0}, 0.9, True),
        (Goal(share=0.85), {"ours": 1.0}, 0.8, False),
        (Goal(share=0.85), {"ours": 1.0}, 0.0, None),
        (Goal(most=1.0), {"ours": 1.0}, 0.0, True),
        (Goal(most=0.9), {"ours": 1.0}, 0.0, False),
        (Goal(over=("numpy", 0.3)), {"ours": 1.0, "numpy": 0.8}, 0.0, True),
        (Goal(over=("numpy", 0.1)), {"ours": 1.0, "numpy": 0.8}, 0.0, False),
        (Goal(over=("numpy", 0.1)), {"ours": 1.0}, 0.0, None),
        (Goal(), {"ours": 1.0, "torch": 0.1}, 0.0, True),
    ],
)
def test_every_part_of_a_goal_counts(
    goal: Goal, medians: dict[str, float], floor: float, reached: bool | None
) -> None:
    assert judge(goal, figures(**medians), floor, "s").reached is reached


def test_the_verdict_names_the_best_peer_and_the_arithmetic() -> None:
    verdict = judge(Goal(ratio=2.0), figures(ours=1.0, torch=3.0, jax=1.4), 0.8, "s")
    assert (verdict.best_peer, verdict.ratio, verdict.share) == ("jax", 1.4, 0.8)
    assert verdict.why == "the limit leaves 1.75x, ours is at 80% of it"


def test_goals_and_quantities_read_well() -> None:
    goal = Goal(ratio=1.5, share=0.9, most=3e-6, over=("numpy", 1.5e-6), peers={"jax": 10.0})
    said = ">= 1.5x, >= 10x jax, >= 90% of limit, <= 3 us, <= 1.5 us over numpy"
    assert describe(goal, "s") == said
    assert [quantity(v, "s") for v in (2.0, 3.14e-3, 2e-7)] == ["2 s", "3.14 ms", "200 ns"]
    assert [quantity(v, "B") for v in (2.5e9, 3e6, 12.0)] == ["2.5 GB", "3 MB", "12 B"]
    assert quantity(1.234, "") == "1.23"
    assert quantity(4321.0, "s") == "4321 s"
