"""MASE, rolling skill and the errors by step ahead, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast.backtest.ahead import Runs, horizon_facts
from slotcast.backtest.run import OWN, Backtest, Forecast
from slotcast.backtest.scores import pooled, rolling_skill, scaled_errors
from slotcast.feeds.columns import Recorded
from slotcast_models.backtest import Outcome, columns_of
from slotcast_models.schema import TickSchema
from tests.streams import LEVEL, PRICE, predictor

Floats = NDArray[np.float64]
STEP_NS = 10


def made(
    value: Any, point: Any, skip: int, schema: TickSchema = LEVEL, instruments: int = 1
) -> Backtest:
    """A backtest of these values [n], by turns of the instruments, that said these points [n]."""
    values, points = (np.array(part, np.float64)[:, None] for part in (value, point))
    n, bundle = len(values), predictor(schema).bundle
    slot, naive = np.arange(n) % instruments, np.full_like(values, np.nan)
    naive[instruments:] = values[:-instruments]
    columns = columns_of(slot, np.arange(n) * STEP_NS, values)
    known = np.arange(n) >= instruments
    outcome = Outcome(
        slot=slot,
        time_ns=columns.time_ns,
        value=values,
        valid=np.ones(n, np.bool_),
        scored=known,
        naive=naive,
        point=points,
        model=np.ones((n, 1), np.bool_),
        readout=points,
        network=points,
        lower=points[..., None],
        upper=points[..., None],
        rows=np.zeros(0, np.void),
    )
    names = [f"S{i}" for i in range(instruments)]
    forecasts = {OWN: Forecast(points), "persistence": Forecast(naive)}
    scored = known & (np.arange(n) >= skip)
    return Backtest(bundle, Recorded(names, columns, {}), skip, outcome, scored, forecasts)


def test_mase_is_the_error_over_the_mean_change_of_the_skipped_ticks() -> None:
    """Instrument S0 goes 0, 2, 0, 2 ..: a mean change of 2; S1 the same times 10."""
    known = [0.0, 0.0, 2.0, 20.0] * 11  # 22 ticks of each
    value = [*known, 5.0, 50.0, 9.0, 90.0]
    point = [*known, 6.0, 45.0, 4.0, 80.0]  # missed by 1 and 5; by 5 and 10

    found = made(value, point, len(known), instruments=2)

    mases = scaled_errors(found, found.forecasts[OWN])
    assert mases[:, 0].tolist() == [3.0 / 2.0, 7.5 / 20.0]
    told = pooled(found, found.forecasts[OWN])
    assert told["mase"] == (1.5 + 0.375) / 2.0
    assert told["mae"] == (1.0 + 5.0 + 5.0 + 10.0) / 4.0
    naive = 3.0**2 + 30.0**2 + 4.0**2 + 40.0**2
    assert told["skill"] == pytest.approx(1.0 - (1.0 + 25.0 + 25.0 + 100.0) / naive)


def test_mase_of_an_instrument_that_began_late_divides_by_its_first_ticks() -> None:
    """Fewer than 20 skipped ticks: its first 20 stand in, with a mean change of 4."""
    value = [0.0, 4.0] * 10 + [100.0] * 5

    found = made(value, [v + 2.0 for v in value], 3)

    assert scaled_errors(found, found.forecasts[OWN])[0, 0] == 2.0 / 4.0


def test_mase_does_not_exist_where_nothing_had_changed() -> None:
    found = made([7.0] * 30, [8.0] * 30, 25)

    assert np.isnan(scaled_errors(found, found.forecasts[OWN])[0, 0])


def test_rolling_skill_is_that_of_equally_many_scored_ticks() -> None:
    """Every change is 1. The first 20 scored are missed by half of that, the others by twice."""
    value = np.arange(60.0)
    miss = np.where(np.arange(60) < 40, 0.5, 2.0)

    told = rolling_skill(made(value, value - miss, 20))

    assert told["skill"] == {OWN: [1.0 - 0.25, 1.0 - 4.0]}
    assert told["ticks"] == [39, 59]
    assert told["time_ns"] == [39 * STEP_NS, 59 * STEP_NS]


@pytest.mark.parametrize(("ticks", "parts"), [(19, 1), (39, 1), (40, 2), (10_000, 60)])
def test_rolling_skill_has_at_most_sixty_parts_of_twenty_ticks(ticks: int, parts: int) -> None:
    value = np.arange(ticks + 1.0) % 7

    told = rolling_skill(made(value, value, 1))

    assert told["skill"][OWN] == [1.0] * parts


def test_errors_by_step_ahead_are_relative_to_where_the_run_began() -> None:
    """Prices 10 and 20; a run of two steps from each."""
    found = made([1.0] * 3, [1.0] * 3, 1, PRICE)
    at = found.levels.index(0.9)
    lower, upper = np.zeros((2, 2, 1, 5)), np.zeros((2, 2, 1, 5))
    lower[..., at], upper[..., at] = 10.0, 20.5  # one of the second run's values is above

    runs = Runs(
        first=np.array([1, 2]),
        now=np.array([[10.0], [20.0]]),
        actual=np.array([[[11.0], [12.0]], [[21.0], [18.0]]]),
        point=np.array([[[10.5], [12.0]], [[20.0], [19.0]]]),
        lower=lower,
        upper=upper,
        seasonal=np.array([[[11.0], [10.0]], [[21.0], [20.0]]]),
    )
    told = horizon_facts(found, runs)

    ours, naive = np.array([[0.05, 0.0], [0.05, -0.05]]), np.array([[0.1, 0.2], [0.05, -0.1]])
    slotcast = told["forecasts"]["slotcast"]
    assert (told["steps"], told["runs"], told["coverage"]) == (2, 2, [0.5, 1.0])
    assert slotcast["skill"] == pytest.approx(1.0 - 0.0075 / 0.0625)
    assert slotcast["skill_by_step"] == pytest.approx([1.0 - 0.005 / 0.0125, 1.0 - 0.0025 / 0.05])
    assert slotcast["mae"] == pytest.approx(0.15 / 4.0)
    assert slotcast["mae_by_step"] == pytest.approx([0.05, 0.025])
    assert slotcast["rmse"] == pytest.approx(np.sqrt(0.0075 / 4.0))
    assert slotcast["rmse_by_step"] == pytest.approx(np.sqrt(np.square(ours).mean(axis=0)))
    persistence = told["forecasts"]["persistence"]
    assert persistence["skill_by_step"] == [0.0, 0.0]
    assert persistence["mae_by_step"] == pytest.approx(np.abs(naive).mean(axis=0))
    seasonal = told["forecasts"]["seasonal naive"]
    assert seasonal["mae_by_step"] == pytest.approx([0.0, (0.2 + 0.1) / 2.0])
