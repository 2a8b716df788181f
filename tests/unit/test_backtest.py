"""A prequential run says for each tick what was published before it, however it is cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from slotcast_models.backtest import columns_of, joined, polls, prequential, previous_ticks
from slotcast_models.columns import FROZEN, RESET
from slotcast_models.memory import SCORED, SQUARED_ERROR, SQUARED_NAIVE, view
from tests.streams import LEVEL, SECOND_NS, eager, part, same_bits, scripted

SLOTS = 5


def fields_of(outcome: Any) -> tuple[Any, ...]:
    return tuple(getattr(outcome, name) for name in outcome.__slots__)


def test_scores_of_the_outcome_are_those_that_memory_counts() -> None:
    log = scripted(3000, SLOTS)
    log = part(log, log.kind != RESET)

    outcome = prequential(eager(), log, SLOTS)

    memory = view(outcome.rows)
    for slot in range(SLOTS):
        own = outcome.scored & (outcome.slot == slot)
        assert own.sum() == memory.counts[slot, SCORED]
        for field, forecast in ((SQUARED_ERROR, outcome.point), (SQUARED_NAIVE, outcome.naive)):
            total = np.square(outcome.value[own] - forecast[own]).sum(axis=0)
            np.testing.assert_allclose(total, memory.target[slot, :, field])


def test_the_size_of_a_poll_does_not_show() -> None:
    log = scripted(800, SLOTS)

    whole = prequential(eager(), part(log, ...), SLOTS)
    small = prequential(eager(), part(log, ...), SLOTS, poll_ticks=7)

    assert same_bits(fields_of(whole), fields_of(small))


def test_what_was_not_scored_has_no_forecast() -> None:
    outcome = prequential(eager(), scripted(800, SLOTS), SLOTS)

    assert 0 < outcome.scored.sum() < 800
    for forecast in (outcome.point, outcome.naive, outcome.readout):
        assert np.isnan(forecast[~outcome.scored]).all()
        assert np.isfinite(forecast[outcome.scored]).all()
    assert (outcome.lower[outcome.scored] <= outcome.upper[outcome.scored]).all()


def test_where_persistence_was_published_the_point_is_the_naive_value() -> None:
    outcome = prequential(eager(), scripted(800, SLOTS), SLOTS)

    naive = outcome.scored[:, None] & ~outcome.model
    assert naive.any()
    assert same_bits(outcome.point[naive], outcome.naive[naive])


def test_a_frozen_entry_is_forecast_and_teaches_nothing() -> None:
    x = np.random.default_rng(0).normal(size=300)
    ticks = columns_of(0, np.arange(300) * SECOND_NS, x)
    ticks.kind[200:] = FROZEN
    known = prequential(eager(LEVEL), part(ticks, slice(200)), 1)

    frozen = prequential(eager(LEVEL), ticks, 1)

    assert frozen.scored[1:].all()
    for name in ("weights", "cov", "quantiles"):
        assert same_bits(frozen.rows[name], known.rows[name])


def test_polls_come_one_by_one_and_join_to_the_whole() -> None:
    log = scripted(800, SLOTS)

    found = list(polls(eager(), part(log, ...), SLOTS, poll_ticks=300))

    assert [len(outcome.slot) for outcome in found] == [300, 300, 200]
    whole = prequential(eager(), part(log, ...), SLOTS)
    assert same_bits(fields_of(joined(found, log)), fields_of(whole))
    narrow = joined((outcome.at_level(3) for outcome in found), log)
    assert same_bits(narrow.upper, np.ascontiguousarray(whole.upper[..., 3:4]))


def test_no_ticks_have_an_empty_outcome() -> None:
    none = part(columns_of(0, 0, np.zeros((1, 1))), slice(0))

    outcome = prequential(eager(LEVEL), none, 1)

    assert outcome.point.shape == (0, 1)
    assert outcome.lower.shape == (0, 1, 5)


def test_the_tick_before_is_the_last_valid_one_of_the_same_slot() -> None:
    slot, valid = np.array([0, 1, 0, 0, 1, 0]), np.array([True, True, False, True, True, True])

    assert previous_ticks(slot, valid).tolist() == [-1, -1, -1, 0, 1, 3]
