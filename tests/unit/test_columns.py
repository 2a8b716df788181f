"""Verdicts are taken in offset order, from the log and the row alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slotcast_models.columns import (
    APPLIED_BEFORE,
    LATE,
    REPEAT,
    RESET,
    TICK,
    VALID,
    Columns,
    allocate_published,
    chosen,
    judge,
)
from slotcast_models.memory import APPLIED, NEVER, SEQUENCE, TIME, Memory
from tests.streams import columns, predictor


def judged(memory: Memory | None = None, **given: Any) -> tuple[list[int], Columns, Memory]:
    """Verdicts on entries of slot 0 (given as columns), and what judging left."""
    n = max(len(column) for column in given.values())
    entries = columns(np.zeros(n), **given)
    memory = predictor().allocate(2)[1] if memory is None else memory
    verdicts = np.full(n, -1, np.int8)
    judge(memory, entries, verdicts)
    return verdicts.tolist(), entries, memory


def test_equal_times_are_valid_and_earlier_ones_are_late() -> None:
    verdicts, *_ = judged(time_ns=[5, 5, 4, 6, 5, 6])

    assert verdicts == [VALID, VALID, LATE, VALID, LATE, VALID]


def test_the_first_tick_is_valid_at_any_time_and_sequence() -> None:
    assert judged(time_ns=[-(2**62)], sequence=[-(2**62)])[0] == [VALID]


def test_a_sequence_number_must_rise() -> None:
    verdicts, *_ = judged(sequence=[3, 3, 2, 4, NEVER, 4, 5])

    assert verdicts == [VALID, REPEAT, REPEAT, VALID, VALID, REPEAT, VALID]


def test_sequence_is_judged_before_time() -> None:
    verdicts, *_ = judged(sequence=[5, 5, 6, 7], time_ns=[10, 3, 3, 10])

    assert verdicts == [VALID, REPEAT, LATE, VALID]


def test_a_late_tick_takes_no_sequence_number() -> None:
    verdicts, _, memory = judged(sequence=[5, 9, 6], time_ns=[10, 3, 11])

    assert verdicts == [VALID, LATE, VALID]
    assert memory.counts[0, SEQUENCE] == 6


def test_a_reset_forgets_time_and_sequence() -> None:
    verdicts, entries, _ = judged(
        kind=[TICK, RESET, TICK, TICK], time_ns=[10, 0, 3, 5], sequence=[5, NEVER, 1, 2]
    )

    assert verdicts == [VALID] * 4
    assert entries.step_ns.tolist()[2:] == [-1, 2]


def test_the_step_is_the_time_since_the_last_valid_tick_of_the_instrument() -> None:
    _, entries, _ = judged(slot=[0, 1, 0, 0, 1], time_ns=[10, 11, 8, 15, 11])

    assert entries.step_ns[[0, 1, 3, 4]].tolist() == [-1, -1, 5, 0]


@pytest.mark.parametrize("kind", [TICK, RESET])
def test_what_was_applied_is_not_applied_again(kind: int) -> None:
    *_, memory = judged(offset=[7], time_ns=[100], sequence=[5])
    before = memory.counts.copy()

    verdicts, *_ = judged(memory, kind=[kind] * 2, offset=[6, 7], time_ns=[200] * 2)

    assert verdicts == [APPLIED_BEFORE] * 2
    np.testing.assert_array_equal(memory.counts, before)


def test_valid_entries_leave_time_sequence_and_offset_in_the_row() -> None:
    *_, memory = judged(offset=[7, 8, 9], time_ns=[100, 120, 110], sequence=[5, 6, 7])

    kept = memory.counts[0, [TIME, SEQUENCE, APPLIED]].tolist()
    assert kept == [120, 6, 8], "the late one left nothing"
    assert (memory.counts[1, [TIME, SEQUENCE, APPLIED]] == NEVER).all()


def test_a_tick_without_a_sequence_number_keeps_the_last() -> None:
    *_, memory = judged(sequence=[5, NEVER])

    assert memory.counts[0, SEQUENCE] == 5


def test_published_columns_are_chosen_together() -> None:
    published = allocate_published(4, 2, 3)
    published.ticks[:] = [1, 2, 3, 4]
    published.point[:, 1] = [1.0, 2.0, 3.0, 4.0]

    some = chosen(published, np.array([3, 1]))

    assert some.ticks.tolist() == [4, 2]
    assert some.point[:, 1].tolist() == [4.0, 2.0]
    assert [column.shape for column in some] == [
        (2, 2),
        (2, 2, 3),
        (2, 2, 3),
        (2, 2),
        (2, 2),
        (2,),
        (2,),
        (2,),
        (2, 2),
        (2, 2),
        (2, 2, 0),
        (2, 2),
    ]
