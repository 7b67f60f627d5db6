"""Settings of the process are other inside, and as they were before when the last has left."""

import gc
import sys

import pytest

from pellucid.core.meanwhile import NO_COLLECTION, QUICK_TURNS


def test_the_last_to_leave_restores_the_interval() -> None:
    before = sys.getswitchinterval()
    with QUICK_TURNS:
        with QUICK_TURNS:
            assert sys.getswitchinterval() == pytest.approx(1e-4)
        assert sys.getswitchinterval() == pytest.approx(1e-4)
    assert sys.getswitchinterval() == before


def test_an_error_restores_the_interval() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), QUICK_TURNS:
        raise KeyError
    assert sys.getswitchinterval() == before


def test_the_last_to_leave_restores_the_collector() -> None:
    assert gc.isenabled()
    with NO_COLLECTION:
        with NO_COLLECTION:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_restores_the_collector() -> None:
    with pytest.raises(KeyError), NO_COLLECTION:
        raise KeyError
    assert gc.isenabled()


def test_who_has_switched_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with NO_COLLECTION:
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
