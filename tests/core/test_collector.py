"""The collector is off inside, and as it was before when the last has left."""

import gc

import pytest

from pellucid.core.collector import NO_COLLECTION


def test_the_last_to_leave_restores_the_collector() -> None:
    assert gc.isenabled()
    with NO_COLLECTION:
        with NO_COLLECTION:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_restores_it() -> None:
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
