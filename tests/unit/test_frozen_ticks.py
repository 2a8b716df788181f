"""A recorded tick that nothing is learnt from has its time, gap and level break all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_models.columns import FREE, FROZEN, TICK, Columns
from slotcast_models.memory import (
    BREAKS,
    BUSY_SUM,
    BUSY_WEIGHT,
    CHANGES,
    ERROR_SUM,
    ERROR_WEIGHT,
    GAPS,
    GATE_WEIGHT2,
    LEAN,
    LEVEL,
    PRESENT,
    SCALE_SUM,
    SCALE_WEIGHT,
    SCORED,
    SQUARED_ERROR,
    STAGE,
    STAGE_LEAN_P,
    STAGE_P,
    STEP,
    TICKS,
    TIME,
    TRUST,
    TRUST_P,
    VALUE,
    U,
    view,
)
from slotcast_models.smoothing import LOSS, SMOOTHED
from tests.streams import SECOND_NS, Run, columns, eager, part, run, same_bits

KNOWN, N, BREAK_AT = 200, 400, 350
LEARNT_OF_TARGETS = (
    *(ERROR_SUM, ERROR_WEIGHT, *range(STAGE, GATE_WEIGHT2 + 1)),
    *range(SQUARED_ERROR, SQUARED_ERROR + 4),
    *(LEAN, STAGE_P, STAGE_LEAN_P, TRUST, TRUST_P),
)


def story() -> Columns:
    """Ticks with holes, a gap, a level break and missing features, all after the first KNOWN."""
    rng = np.random.default_rng(0)
    pause = np.where(np.arange(N) < KNOWN, 1.0, rng.choice([0.0, 1.0, 1.2, 5.0], N))
    pause[300] = 1000.0  # longer than SEASONAL's gap
    value = np.column_stack([np.exp(rng.normal(size=N) * 0.1), *rng.normal(size=(2, N))])
    value[BREAK_AT:, 1] += 1e4
    value[KNOWN:, 2] = np.where(rng.random(N - KNOWN) < 0.2, np.nan, value[KNOWN:, 2])
    return columns(value, time_ns=(pause.cumsum() * SECOND_NS).astype(np.int64))


def told(kind: int) -> tuple[NDArray[np.void], Run]:
    """The row after KNOWN ticks, and the run from there on with the rest of this kind."""
    ticks = story()
    ticks.kind[KNOWN:] = kind
    rows = run(eager(), part(ticks, slice(KNOWN))).rows
    before = rows.copy()
    return before, run(eager(), part(ticks, slice(KNOWN, N)), rows=rows)


def test_what_is_known_of_the_last_ticks_is_that_of_a_tick() -> None:
    (before, ticked), (_, froze) = told(TICK), told(FROZEN)
    live, frozen = ticked.memory, froze.memory

    known: list[tuple[str, Any]] = [
        ("counts", [TIME, TICKS, GAPS, BREAKS, STEP]),
        ("quantity", (slice(None), [VALUE, U, LEVEL, PRESENT])),
        ("smoothers", (slice(None), SMOOTHED)),
        *((name, ...) for name in ("lags", "ring", "ring_step", "pace")),
    ]
    for name, place in known:
        assert same_bits(getattr(frozen, name)[0][place], getattr(live, name)[0][place]), name
    assert frozen.counts[0, GAPS] == 1
    assert frozen.counts[0, BREAKS] == before["counts"][0, BREAKS] + 1


@pytest.mark.parametrize("kind", [FROZEN, FREE])
def test_nothing_is_learnt(kind: int) -> None:
    before, after = told(kind)

    known, memory = view(before), after.memory
    learnt: list[tuple[str, Any]] = [
        *((name, ...) for name in ("weights", "cov", "quantiles", "covered", "profile")),
        ("counts", SCORED),
        ("target", (slice(None), list(LEARNT_OF_TARGETS))),
        ("quantity", (slice(None), [SCALE_SUM, SCALE_WEIGHT, BUSY_SUM, BUSY_WEIGHT, CHANGES])),
        ("smoothers", (slice(None), LOSS)),
    ]
    for name, place in learnt:
        assert same_bits(getattr(memory, name)[0][place], getattr(known, name)[0][place]), name


def test_a_forecast_is_due_wherever_one_is_for_a_tick() -> None:
    live, frozen, free = (told(kind)[1].published.scored for kind in (TICK, FROZEN, FREE))

    assert same_bits(frozen, live)
    assert 0 < np.count_nonzero(~frozen) < 5, "none after the gap"
    assert not free.any(), "a step of a free run is no recorded tick"
