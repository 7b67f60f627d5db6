"""The row that sets the search beside drawing blindly, in its short form."""

from __future__ import annotations

import numpy as np

from pellucid.bench.row import OURS, Setting
from pellucid.bench.search import compare_searches


def test_both_searches_are_timed_on_the_same_product() -> None:
    found = compare_searches(Setting(quick=True))
    assert set(found.seen) == {OURS, "blind search"}
    for times in found.seen.values():
        assert len(times) == 1
        assert 0 < times[0] < np.inf
