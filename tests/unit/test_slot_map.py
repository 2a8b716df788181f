"""The picture of the slots: a letter each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slotcast.board.slot_map import slot_map
from slotcast.board.views import Measure, SlotMap


def drawn(worth: dict[int, float], slots: int, measure: Measure = "skill") -> SlotMap:
    slot, value = np.array(list(worth), np.int64), np.array(list(worth.values()))
    return slot_map(measure, slot, value, slots, 0.9)


def test_a_slot_shows_whether_it_is_held_and_what_it_is_worth() -> None:
    made = drawn({0: 0.0, 1: 0.1, 2: -0.1, 4: math.nan, 5: 0.05}, 7)

    assert made == SlotMap("skill", 0.0, 0.1, "MYA.?S.")


def test_coverage_is_shown_around_the_level_of_the_interval() -> None:
    made = drawn({0: 0.9, 1: 1.0, 2: 0.7}, 3, "coverage")

    assert (made.middle, made.reach, made.cells) == (0.9, 0.1, "MYA")


def test_a_slot_beyond_those_that_are_kept_is_in_the_picture() -> None:
    assert drawn({6: 0.0}, 2).cells == "......M"


@pytest.mark.parametrize(
    ("most", "reach"),
    [(0.0, 0.01), (0.01, 0.01), (0.013, 0.02), (0.04, 0.05), (0.07, 0.1), (0.6, 1.0), (3.0, 5.0)],
)
def test_the_reach_is_a_round_number_that_leaves_little_outside(most: float, reach: float) -> None:
    assert drawn(dict.fromkeys(range(9), -most), 9).reach == pytest.approx(reach)


def test_slots_that_nobody_holds_are_a_picture_too() -> None:
    assert drawn({}, 3).cells == "..."
