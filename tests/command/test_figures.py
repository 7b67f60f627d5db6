"""The report's pictures are well-formed, stay inside their frames, and say what they show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pellucid.command.figures import (
    memory_bars,
    memory_picture,
    readable_bytes,
    roofline,
    ticks,
    training_curve,
)
from pellucid.runtime.machine import MachineLimits
from pellucid.runtime.memory_plan import Lifetime, MemoryPlan, plan_memory
from pellucid.runtime.profiler import KernelTime, Profile

SPEEDS = {"L1": {2: 700e9}, "L2": {2: 400e9}, "L3": {2: 200e9}, "DRAM": {2: 34e9}}
LIMITS = MachineLimits(
    cpu="test", threads=2, flops={2: 500e9}, read=SPEEDS, copy=SPEEDS,
    latency_ns=dict.fromkeys(SPEEDS, 1.0), fork_join_ns=1.0, wake_ns=1.0, seconds=1.0,
)  # fmt: skip


def _plan() -> MemoryPlan:
    lives = [(0, "a<b", 4096, 0, 2), (1, "hidden", 8192, 1, 3), (2, "c", 4096, 3, 5)]
    return plan_memory([Lifetime(*life) for life in lives])


def _profile() -> Profile:
    calls = [("big", 10**9, 10**6, 3e-3), ("add", 10**5, 10**6, 3e-5), ("tiny", 10, 10, 1e-8)]
    rows = [
        KernelTime(name, (name,), ("model.py:3",), seconds, flops, nbytes, 1e-9)
        for name, flops, nbytes, seconds in calls
    ]
    rows.append(KernelTime("pad", ("pad",), (), 1e-5, 0, 4096, 1e-9))
    return Profile("step", 2, 3, tuple(rows), np.zeros((4, 2), np.int64))


PICTURES = {
    "curve": training_curve([2.3, 1.2, 0.4], [(1, 0.5), (3, 1.0)]),
    "curve of one step": training_curve([2.3], [(1, 0.1)]),
    "memory": memory_picture(_plan()),
    "no memory": memory_picture(plan_memory([])),
    "bars": memory_bars(_plan()),
    "no bars": memory_bars(plan_memory([])),
    "roofline": roofline(_profile(), LIMITS),
}


@pytest.mark.parametrize("name", PICTURES)
def test_everything_lies_inside_the_picture(name: str) -> None:
    svg = ET.fromstring(PICTURES[name])
    _, _, width, height = (float(v) for v in svg.attrib["viewBox"].split())
    points = []
    for part in svg.iter():
        at = part.attrib
        if part.tag == "rect":
            x, y = float(at["x"]), float(at["y"])
            points += [(x, y), (x + float(at["width"]), y + float(at["height"]))]
        if part.tag == "circle":
            points.append((float(at["cx"]), float(at["cy"])))
        points += [
            (float(x), float(y))
            for x, y in re.findall(r"([-\d.]+),([-\d.]+)", at.get("points", ""))
        ]
    assert points
    for x, y in points:
        assert 0 <= x <= width, (x, y)
        assert 0 <= y <= height, (x, y)


def test_axes_are_named_and_shapes_explained() -> None:
    for name in ("curve", "memory", "roofline"):
        texts = [t.text for t in ET.fromstring(PICTURES[name]).iter("text") if "class" in t.attrib]
        assert len(texts) > 6, name
    assert "test accuracy" in PICTURES["curve"]
    assert "offset in the arena" in PICTURES["memory"]
    assert "a&lt;b: 4,096 B at offset" in PICTURES["memory"]
    assert "big: 3,000.0 us, 333.3 GFLOP/s" in PICTURES["roofline"]
    assert "DRAM 34 GB/s" in PICTURES["roofline"]


def test_a_kernel_that_only_moves_data_has_no_place_under_the_roofs() -> None:
    assert PICTURES["roofline"].count("<circle") == 3


def test_the_bars_show_all_three_sizes() -> None:
    plan = _plan()
    for size in (plan.no_reuse, plan.peak, plan.bound):
        assert f"{size:,} B</text>" in PICTURES["bars"]


def test_ticks_are_round_and_reach_the_end() -> None:
    assert ticks(2.3) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert ticks(1100)[-1] == 1000
    assert ticks(0) == [0.0]


def test_bytes_are_readable() -> None:
    assert [readable_bytes(n) for n in (12, 1500, 2_824_576)] == ["12 B", "1.5 KB", "2.82 MB"]
