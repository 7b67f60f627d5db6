"""Plans never let live slots overlap, stay near the lower bound, and reuse memory in place."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.errors import VerifyError
from pellucid.runtime.memory_plan import (
    Lifetime,
    MemoryPlan,
    Rectangle,
    check_plan,
    plan_memory,
    print_plan,
)

LIVES = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 20), st.integers(0, 8)), max_size=40
)


def lifetimes_of(rows: list[tuple[int, int, int]]) -> list[Lifetime]:
    return [Lifetime(i, f"t{i}", n, s, s + d) for i, (n, s, d) in enumerate(rows)]


@settings(max_examples=150, deadline=None)
@given(LIVES)
def test_no_two_live_slots_overlap(rows: list[tuple[int, int, int]]) -> None:
    plan = plan_memory(lifetimes_of(rows))
    check_plan(plan)
    assert plan.bound <= plan.peak <= plan.no_reuse
    assert all(r.offset % 64 == 0 for r in plan.rectangles)
    assert [r.slot for r in plan.rectangles] == list(range(len(rows)))


@settings(max_examples=100, deadline=None)
@given(LIVES, st.randoms(use_true_random=False))
def test_sharing_is_safe_whatever_pairs_are_offered(
    rows: list[tuple[int, int, int]], rng: random.Random
) -> None:
    lives = lifetimes_of(rows)
    pairs = [(b.slot, a.slot) for a in lives for b in lives if a is not b and a.end == b.start]
    rng.shuffle(pairs)
    check_plan(plan_memory(lives, pairs))


def test_plans_are_near_the_lower_bound() -> None:
    ratios = []
    for seed in range(30):
        rng = random.Random(seed)
        rows = [
            (rng.choice([1, 2, 3, 8]) * rng.randint(1, 4000), i, rng.choice([1, 1, 1, 2, 3, 20]))
            for i in range(80)
        ]
        plan = plan_memory(lifetimes_of(rows))
        ratios.append(plan.peak / plan.bound)
    assert sorted(ratios)[len(ratios) // 2] <= 1.05
    assert max(ratios) <= 1.2


def test_forward_backward_pattern_is_near_the_bound() -> None:
    # activation i is made at step i and read again by its backward at step 2n - i, as in training
    n = 24
    rows = [(1000 * (1 + i % 5), i, 2 * (n - i)) for i in range(n)]
    rows += [(1000 * (1 + i % 5), 2 * n - i, 1) for i in range(n)]
    plan = plan_memory(lifetimes_of(rows))
    check_plan(plan)
    assert plan.peak <= 1.1 * plan.bound


def test_a_chain_of_temporaries_ping_pongs_between_two_addresses() -> None:
    plan = plan_memory([Lifetime(i, f"t{i}", 256, i, i + 1) for i in range(10)])
    assert plan.peak == 512
    assert plan.no_reuse == 2560


def test_in_place_pairs_share_one_address() -> None:
    lives = [Lifetime(i, f"t{i}", 256, i, i + 1) for i in range(10)]
    plan = plan_memory(lives, [(i + 1, i) for i in range(9)])
    assert plan.peak == 256
    check_plan(plan)


def test_a_later_reader_forbids_sharing() -> None:
    plan = plan_memory([Lifetime(0, "a", 64, 0, 5), Lifetime(1, "b", 64, 2, 3)], [(1, 0)])
    assert plan.peak == 128


def test_two_writers_cannot_both_take_one_dying_slot() -> None:
    lives = [Lifetime(0, "a", 64, 0, 1), Lifetime(1, "b", 64, 1, 2), Lifetime(2, "c", 64, 1, 2)]
    plan = plan_memory(lives, [(1, 0), (2, 0)])
    check_plan(plan)
    assert plan.peak == 128


def test_the_checker_finds_an_overlap_and_shows_it() -> None:
    a = Rectangle(0, "a", 0, 2, 0, 64, 0)
    b = Rectangle(1, "b", 1, 3, 32, 64, 1)
    with pytest.raises(VerifyError, match=r"must not overlap.*name='a'.*name='b'"):
        check_plan(MemoryPlan((a, b), 128, 128, 128))
    check_plan(MemoryPlan((a, dataclasses.replace(b, offset=64)), 128, 128, 128))


def test_the_checker_finds_a_slot_outside_the_arena() -> None:
    with pytest.raises(VerifyError, match="inside the arena"):
        check_plan(MemoryPlan((Rectangle(0, "a", 0, 2, 64, 64, 0),), 100, 64, 64))


@pytest.mark.parametrize(
    "lives",
    [[Lifetime(0, "a", 8, 3, 2)], [Lifetime(0, "a", 8, 0, 1), Lifetime(0, "b", 8, 0, 1)]],
)
def test_impossible_lifetimes_are_refused(lives: list[Lifetime]) -> None:
    with pytest.raises(VerifyError, match="one lifetime"):
        plan_memory(lives)


def test_an_empty_plan_has_no_bytes() -> None:
    assert plan_memory([]) == MemoryPlan((), 0, 0, 0)


def test_print_shows_figures_and_one_bar_per_slot() -> None:
    text = print_plan(plan_memory([Lifetime(0, "a", 100, 0, 1), Lifetime(1, "b", 64, 2, 3)]))
    assert text.splitlines() == [
        "arena 128 B (lower bound 128 B, without reuse 192 B)",
        "           0 +128         |##   | 0..1 a",
        "           0 +64          |  ## | 2..3 b",
    ]
