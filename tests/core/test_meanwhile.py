"""Settings of the process are other inside, and as they were before when the last has left."""

import gc
import sys

import pytest

from pellucid.core.meanwhile import NO_COLLECTION, QUICK_TURNS, grow_old


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


def test_what_is_old_is_left_alone_by_young_collections() -> None:
    with NO_COLLECTION:
        made = [[k] for k in range(100)]
        assert any(o is made[0] for o in gc.get_objects(generation=0))
        grow_old()
        assert any(o is made[0] for o in gc.get_objects(generation=2))
    gc.freeze()
    try:
        grow_old()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
