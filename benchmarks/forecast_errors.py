"""What B1 says of a forecast: errors of z-scored values, on the scored rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import Ticks
from slotcast_models import baselines, scores
from slotcast_models.backtest import Outcome

Floats = NDArray[np.float64]


def scaled(outcome: Outcome, forecast: Floats, scored: slice, spread: Floats) -> Floats:
    """Errors [rows, T] of a forecast of the scored rows, in units of `spread` [T]."""
    return np.asarray((outcome.value[scored] - forecast[scored]) / spread)


def errors(outcome: Outcome, scored: slice, spread: Floats, block: int) -> dict[str, Any]:
    """MSE, MAE, skill by variable, and the paired differences to persistence and readout."""
    error, naive, readout, network = (
        scaled(outcome, forecast, scored, spread)
        for forecast in (outcome.point, outcome.naive, outcome.readout, outcome.network)
    )
    alone = {"network_alone": scores.mean_squared(network)} if np.isfinite(network).all() else {}
    return {
        "mse": scores.mean_squared(error),
        "mae": scores.mean_absolute(error),
        "persistence": scores.mean_squared(naive),
        "readout_alone": scores.mean_squared(readout),
        **alone,
        "less_than_persistence": less(error, naive, block),
        "less_than_readout_alone": less(error, readout, block),
        "mse_by_variable": np.square(error).mean(axis=0).tolist(),
        "persistence_by_variable": np.square(naive).mean(axis=0).tolist(),
        "skill_by_variable": skill_by_variable(error, naive),
        "readout_alone_skill_by_variable": skill_by_variable(readout, naive),
    }


def less(error: Floats, other: Floats, block: int) -> dict[str, float]:
    """How much lower the first MSE is, row by row, with an interval by blocks of rows."""
    loss, other_loss = (np.square(e).mean(axis=1) for e in (error, other))
    return scores.paired(other_loss, loss, block)._asdict()


def skill_by_variable(error: Floats, naive: Floats) -> list[float]:
    """Skill over persistence of each column."""
    return [scores.skill(error[:, j], naive[:, j]) for j in range(error.shape[1])]


def others(
    ticks: Ticks, outcome: Outcome, scored: slice, spread: Floats, known: int
) -> dict[str, float]:
    """MSE of the baselines on the same rows."""
    seasons = ticks.schema.seasons
    candidates: dict[str, baselines.Baseline] = {
        "drift": baselines.drift,
        "ewma": lambda x: baselines.best_ewma(x, known),
        "ar1": baselines.ar1,
    }
    if seasons:
        candidates["seasonal naive"] = lambda x: baselines.seasonal_naive(x, seasons[0])
    found = {}
    for name, baseline in candidates.items():
        forecast = baselines.by_instrument(baseline, outcome.slot, outcome.value)
        found[name] = scores.mean_squared(scaled(outcome, forecast, scored, spread))
    return found
