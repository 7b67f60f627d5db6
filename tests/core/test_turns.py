"""The interpreter's switch interval is shorter inside, and restored by the last to leave."""

import sys

import pytest

from pellucid.core.turns import QUICK_TURNS


def test_the_last_to_leave_restores_the_interval() -> None:
    before = sys.getswitchinterval()
    with QUICK_TURNS:
        with QUICK_TURNS:
            assert sys.getswitchinterval() == pytest.approx(1e-4)
        assert sys.getswitchinterval() == pytest.approx(1e-4)
    assert sys.getswitchinterval() == before


def test_an_error_restores_it() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), QUICK_TURNS:
        raise KeyError
    assert sys.getswitchinterval() == before
