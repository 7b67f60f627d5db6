"""The busy process is there while it should be, and never longer."""

from __future__ import annotations

import pytest

from pellucid.bench.beside import busy_process


def test_it_runs_inside_and_is_gone_afterwards() -> None:
    with busy_process() as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_it_goes_when_the_measurement_fails() -> None:
    with pytest.raises(KeyError), busy_process() as process:
        raise KeyError
    assert process.poll() is not None


def test_it_ends_by_itself() -> None:
    with busy_process(0.05) as process:
        assert process.wait(10) == 0
