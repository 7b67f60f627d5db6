from __future__ import annotations

import pytest

from pellucid.schedule.choice import RULES, Choice, Decisions


def test_rules_hold_without_a_choice() -> None:
    made = Decisions()
    assert made.decide("height", 4, (2, 4, 8)) == 4
    assert made.decide("pack", True, (True, False)) is True
    assert made.made["height"].options == (4, 2, 8)
    assert made.made["height"].taken == 4


def test_a_choice_takes_a_rules_place_where_it_is_legal() -> None:
    made = Decisions(Choice.of({"height": 8, "pack": 1, "width": 5}))
    assert made.decide("height", 4, (2, 4, 8)) == 8
    assert made.decide("pack", False, (True, False)) is False  # 1 is not True
    assert made.decide("width", 4, (2, 4, 8)) == 4
    assert [d.taken for d in made.made.values()] == [8, False, 4]


def test_what_is_asked_again_is_numbered() -> None:
    made = Decisions(Choice.of({"sums": 2, "sums#2": 8}))
    assert [made.decide("sums", 4, (1, 2, 4, 8)) for _ in range(3)] == [2, 4, 8]
    assert list(made.made) == ["sums", "sums#1", "sums#2"]


def test_one_option_is_no_decision() -> None:
    made = Decisions()
    assert made.decide("height", 1, (1,)) == 1
    assert not made.made


def test_text_gives_the_choice_back() -> None:
    choice = Choice.of({"b": 2, "a": "lines", "c": False})
    assert Choice.parse(str(choice)) == choice
    assert Choice.of({"a": "lines", "c": False, "b": 2}) == choice
    assert Choice.parse("{}") == RULES
    for text in ("[1]", '{"a": 1.5}', '{"a": null}', "nothing"):
        with pytest.raises(ValueError, match=r".+"):
            Choice.parse(text)
