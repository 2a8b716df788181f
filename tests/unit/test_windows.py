"""A windower that loses no pair, and whose errors name slot and field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast_models.windows import ShapeError, windows


@given(st.integers(1, 8), st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_a_series_gives_exactly_its_length_less_look_back_pairs(
    look_back: int, more: list[int]
) -> None:
    lengths = [look_back + 1 + n for n in more]
    series = {f"s{i}": {"v": np.arange(n) + 100 * i} for i, n in enumerate(lengths)}

    found = windows(series, look_back)

    assert np.bincount(found.slot).tolist() == [n - look_back for n in lengths]
    assert found.x.shape == (sum(lengths) - look_back * len(lengths), look_back, 1)
    np.testing.assert_array_equal(found.x[:, -1] + 1, found.y)
    np.testing.assert_array_equal(np.diff(found.x[..., 0], axis=1), 1.0)


def test_the_airline_series_of_the_tutorial_gives_143_pairs_not_142() -> None:
    assert len(windows({"airline": {"passengers": np.arange(144.0)}}, 1).x) == 143


def test_every_step_of_a_window_may_have_the_value_that_follows_it() -> None:
    series = {"tank": {"pressure": np.arange(9.0), "heat": np.arange(9.0) ** 2}}

    last = windows(series, 4, targets=["heat"])
    every = windows(series, 4, targets=["heat"], every_step=True)

    assert every.y.shape == (5, 4, 1)
    np.testing.assert_array_equal(every.y[:, -1], last.y)
    np.testing.assert_array_equal(every.y[:, :-1, 0], every.x[:, 1:, 1])


TANK: dict[str, Any] = {"pressure": np.arange(9.0), "heat": np.arange(9.0)}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"heat": np.arange(8.0)}, "heat", "8 values, but 'pressure' has 9"),
        ({"heat": np.zeros((9, 2))}, "heat", r"shape \(9, 2\): need one value per step"),
        ({"heat": ["hot"] * 9}, "heat", "not numbers"),
        ({"heat": [1.0, 2.0, np.nan] * 3}, "heat", "step 2 is nan"),
        ({"level": np.arange(9.0)}, "level", "not there in the first slot"),
        ({"pressure": [1.0], "heat": [2.0]}, None, "1 values: look_back 4 needs 5"),
    ],
)
def test_an_error_names_slot_and_field(changes: Any, field: str | None, message: str) -> None:
    with pytest.raises(ShapeError, match=message) as caught:
        windows({"A": TANK, "B": TANK | changes}, 4)

    assert (caught.value.slot, caught.value.field) == ("B", field)
    assert "slot 'B'" in str(caught.value)


def test_a_slot_without_a_field_is_named() -> None:
    with pytest.raises(ShapeError, match="slot 'B', field 'heat': missing here"):
        windows({"A": TANK, "B": {"pressure": np.arange(9.0)}}, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, 2), "at least one slot"),
        (({"A": TANK}, 0), "look_back is 0"),
    ],
)
def test_what_concerns_no_slot_is_a_plain_error(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        windows(*arguments)
    with pytest.raises(ValueError, match="targets \\['colour'\\] are no fields"):
        windows({"A": TANK}, 2, targets=["colour"])
