"""Memory is a fold over the log: nothing but the log's own order shows in rows and forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast_models.columns import APPLIED_BEFORE, RESET, TICK, VALID, Columns, chosen
from slotcast_models.memory import NEVER, SHARE, TICKS, Memory, view
from tests.streams import (
    LEVEL,
    MIXED,
    PRICE,
    SECOND_NS,
    columns,
    eager,
    part,
    predictor,
    run,
    same_bits,
    scripted,
)

examples = settings(max_examples=40)
SLOTS = 4
PAUSES_NS = [0, 1, SECOND_NS, 3 * SECOND_NS, 100 * SECOND_NS, 10**15, -SECOND_NS]


@st.composite
def logs(draw: st.DrawFn, most: int = 60) -> Columns:
    """A log of MIXED ticks and resets of a few instruments, with everything that may happen."""
    n = draw(st.integers(1, most))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    price = np.exp(column(st.floats(-5.0, 5.0)))
    level = column(st.floats(-100.0, 100.0) | st.just(7.0))
    load = column(st.floats(-10.0, 10.0) | st.just(np.nan))
    return columns(
        np.column_stack([price, level, load]),
        slot=column(st.integers(0, SLOTS - 1)),
        kind=column(st.sampled_from([TICK] * 9 + [RESET])),
        time_ns=np.cumsum(column(st.sampled_from(PAUSES_NS))),
        sequence=column(st.integers(0, 100) | st.just(NEVER)),
        offset=np.cumsum(column(st.integers(1, 3))),
    )


def cuts_of(log: Columns) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(log.slot)), max_size=6)


@examples
@given(logs(), st.data())
def test_any_split_into_polls_gives_the_same_bits(log: Columns, data: st.DataObject) -> None:
    whole = run(eager(), log, SLOTS)

    split = run(eager(), part(log, ...), SLOTS, cuts=data.draw(cuts_of(log)))

    assert same_bits(split.rows, whole.rows)
    assert same_bits(split.published, whole.published)
    assert same_bits(split.verdicts, whole.verdicts)


def test_tick_by_tick_gives_the_bits_of_one_poll() -> None:
    log = scripted(3000, SLOTS, seed=1)
    whole = run(eager(), log, SLOTS)

    lone = run(eager(), part(log, ...), SLOTS, cuts=range(3000))

    assert same_bits(lone.rows, whole.rows)
    assert same_bits(lone.published, whole.published)


@examples
@given(logs(), st.permutations(range(SLOTS + 3)))
def test_an_instrument_may_live_in_any_slot(log: Columns, place: list[int]) -> None:
    at_home = run(eager(), log, SLOTS)

    moved = part(log, ...)._replace(slot=np.array(place)[log.slot])
    elsewhere = run(eager(), moved, SLOTS + 3)

    assert same_bits(elsewhere.rows[place[:SLOTS]], at_home.rows)
    assert same_bits(elsewhere.published, at_home.published)


@examples
@given(logs(), st.integers(0, SLOTS - 1))
def test_an_instrument_does_not_see_the_others(log: Columns, slot: int) -> None:
    own = log.slot == slot
    together = run(eager(), log, SLOTS)

    alone = run(eager(), part(log, own), SLOTS)

    assert same_bits(alone.rows[slot : slot + 1], together.rows[slot : slot + 1])
    assert same_bits(alone.published, chosen(together.published, own))


@examples
@given(logs(), st.data())
def test_what_a_row_has_applied_has_no_effect_again(log: Columns, data: st.DataObject) -> None:
    first = run(eager(), log, SLOTS)
    rows = first.rows.copy()
    start = data.draw(st.integers(0, len(log.slot)))

    again = run(eager(), part(log, slice(start, None)), rows=rows)

    applied = first.verdicts[start:] == VALID
    assert (again.verdicts[applied] == APPLIED_BEFORE).all()
    assert not (again.verdicts == VALID).any()
    assert same_bits(rows, first.rows)
    assert np.isnan(again.published.label).all()
    assert not any(column.any() for column in again.published._replace(label=np.zeros(0)))


@examples
@given(logs())
def test_late_ticks_and_repeats_leave_only_their_verdict(log: Columns) -> None:
    told = run(eager(), log, SLOTS)

    valid = told.verdicts == VALID
    without = run(eager(), part(log, valid), SLOTS)

    assert (without.verdicts == VALID).all()
    assert same_bits(without.rows, told.rows)
    assert same_bits(without.published, chosen(told.published, valid))


@examples
@given(logs(), st.data())
def test_a_reset_leaves_nothing_behind(log: Columns, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log.slot) - 1))
    log.slot[:] = 0
    log.kind[at] = RESET
    reset = run(eager(), log)

    after = part(log, slice(at, None))  # the reset itself is nothing to a new instrument
    new = run(eager(), after)

    for rows in (reset.rows, new.rows):
        rows["share"][:, SHARE] = 0
    assert same_bits(reset.rows, new.rows)
    assert same_bits(chosen(reset.published, slice(at, None)), new.published)


def test_a_reset_row_is_a_fresh_row_but_for_the_log_s_own_marks() -> None:
    log = scripted(400, 1, seed=2)
    end = columns([[1.0, 1.0, 1.0]], kind=RESET, offset=400)
    stepper = eager()
    rows = run(stepper, log).rows
    run(stepper, end, rows=rows)

    fresh = stepper.fresh_row()

    assert view(rows).counts[0, TICKS] == 0
    for name in set(Memory._fields) - {"counts", "share"}:
        assert same_bits(rows[name][:1], fresh[name]), name


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=5e-324, allow_infinity=False)


@examples
@given(
    price=st.lists(positive, min_size=20, max_size=20),
    level=st.lists(finite, min_size=20, max_size=20),
    load=st.lists(finite | st.just(np.nan), min_size=20, max_size=20),
    pauses=st.lists(st.integers(0, 2**56), min_size=20, max_size=20),
    repeats=st.integers(1, 4),
)
def test_no_finite_tick_can_poison_a_row(
    price: list[float],
    level: list[float],
    load: list[float],
    pauses: list[int],
    repeats: int,
) -> None:
    value = np.tile(np.column_stack([price, level, load]), (repeats, 1))
    log = columns(value, time_ns=np.tile(pauses, repeats).cumsum())

    told = run(eager(), log)
    free = eager().free_run(told.rows[:1], 5)

    assert_finite(told.memory)
    assert_ordered(told.published.lower, told.published.upper)
    assert np.isfinite(told.published.point).all()
    assert np.isfinite(free[0]).all()
    assert_ordered(*free[1:])


def test_adversarial_series_leave_rows_finite() -> None:
    n = 4000
    step = np.arange(n)
    series = {
        "alternating": np.where(step % 2, 1.0, -1.0),
        "alternating ends of the floats": np.where(step % 2, 1.7e308, -1.7e308),
        "one jump of 1e300": np.where(step == 2000, 1e300, step % 3),
        "denormal": (step % 7) * 5e-324,
        "denormal, then ordinary": np.where(step < 2000, (step % 7) * 5e-324, step % 5),
        "constant": np.full(n, 7.0),
        "noise, then constant": np.where(step < 100, np.sin(step), 0.5),
        "growing by a tenth": 1.1 ** (step % 7000),
        "squares that underflow": (step % 2) * 1e-170,
    }
    log = columns(
        np.column_stack(list(series.values())).reshape(-1),
        slot=np.tile(np.arange(len(series)), n),
        time_ns=np.repeat(step, len(series)) * SECOND_NS,
    )

    told = run(eager(LEVEL), log, len(series))

    assert_finite(told.memory)
    assert_ordered(told.published.lower, told.published.upper)
    assert np.isfinite(told.published.point).all()


@examples
@given(st.lists(st.tuples(positive, st.integers(0, 10**10)), min_size=1, max_size=30))
def test_persistence_is_the_naive_value_in_bits(ticks: list[tuple[float, int]]) -> None:
    price, pauses = zip(*ticks, strict=True)
    log = columns(price, time_ns=np.cumsum(pauses))

    for schema in (PRICE, LEVEL):
        told = run(predictor(schema, warmup_ticks=30), log)
        assert not told.published.model.any()
        assert same_bits(told.published.point, log.value)


@examples
@given(logs())
def test_what_is_not_the_model_is_the_naive_value_in_bits(log: Columns) -> None:
    told = run(eager(), log, SLOTS)

    ticked = (told.verdicts == VALID) & (log.kind == TICK)
    naive = ticked[:, None] & ~told.published.model
    assert same_bits(told.published.point[naive], log.value[:, :2][naive])


@examples
@given(logs(), st.integers(1, 30))
def test_intervals_widen_with_the_level_and_hold_their_order(log: Columns, steps: int) -> None:
    told = run(eager(), log, SLOTS)

    assert_ordered(told.published.lower, told.published.upper)
    for slot in np.flatnonzero(told.memory.counts[:, TICKS] > 0):
        points, lower, upper = eager().free_run(told.rows[slot : slot + 1], steps)
        assert np.isfinite(points).all()
        assert_ordered(lower, upper)
        assert (lower[:, 0] >= 0.0).all(), f"{MIXED.targets[0].name} is positive"


def assert_finite(memory: Memory) -> None:
    for name, field in memory._asdict().items():
        assert np.isfinite(field).all(), name


def assert_ordered(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> None:
    assert np.isfinite(lower).all()
    assert np.isfinite(upper).all()
    assert (lower <= upper).all()
    assert (np.diff(lower, axis=-1) <= 0.0).all()
    assert (np.diff(upper, axis=-1) >= 0.0).all()
