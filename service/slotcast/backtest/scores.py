"""The numbers of a backtest, ready for JSON. All of them are made by slotcast_models.scores.

Errors of a target whose logarithm is forecast are relative to the value at hand, those of others
are in the target's own unit. A series is one target of one instrument.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast.backtest.intervals import Floats, calibration, interval_level, unit_of
from slotcast.backtest.run import FEWEST_KNOWN, OWN, Backtest, Forecast
from slotcast_models import scores
from slotcast_models.baselines import rows_by_instrument

ROLLING_PARTS, FEWEST_PER_PART = 60, 20


def facts(found: Backtest) -> dict[str, Any]:
    """Everything that table, page and JSON tell, NaN where a score does not exist."""
    schema = found.bundle.schema
    return {
        "bundle": found.bundle.identity,
        "ticks": found.recorded.ticks,
        "instruments": len(found.recorded.names),
        "targets": [q.name for q in schema.targets],
        "relative": [q.name for q in schema.targets if q.log],
        "skipped": found.skip,
        "scored": int(found.scored.sum()),
        "left_out": found.recorded.rejects,
        "model_published": float(found.outcome.model[found.scored].mean()),
        "interval_level": interval_level(found.levels),
        "forecasts": {name: pooled(found, one) for name, one in found.forecasts.items()},
        "absent": found.absent,
        "calibration": calibration(found),
        "by_target": by_target(found),
        "series": by_series(found),
        "rolling_skill": rolling_skill(found),
    }


def pooled(
    found: Backtest, forecast: Forecast, target: int | slice = slice(None)
) -> dict[str, Any]:
    """Scores over all scored ticks, of all targets or of one."""
    kept, outcome = found.scored, found.outcome
    targets = slice(target, target + 1) if isinstance(target, int) else target
    unit = unit_of(found.bundle.schema, outcome.naive[kept])[:, targets]
    value = outcome.value[kept][:, targets]
    error = (value - forecast.point[kept][:, targets]) / unit
    naive = (value - outcome.naive[kept][:, targets]) / unit
    each = scores.skills(error, naive, outcome.slot[kept], len(found.recorded.names)).ravel()
    each = each[~np.isnan(each)]
    scaled = scaled_errors(found, forecast)[:, targets].ravel()
    scaled = scaled[np.isfinite(scaled)]
    result = {
        "skill": scores.skill(error, naive),
        "skill_median": float(np.median(each)) if each.size else math.nan,
        "skill_worst": float(each.min()) if each.size else math.nan,
        "mae": scores.mean_absolute(error),
        "rmse": scores.root_mean_squared(error),
        "mase": float(scaled.mean()) if scaled.size else math.nan,
    }
    if forecast.sums is not None:
        lower, upper = (bound[kept][:, targets] / unit for bound in forecast.bounds())
        level = interval_level(found.levels)
        result |= forecast.sums.told(targets)
        result["winkler"] = scores.winkler(value / unit, lower, upper, level)
    return result


def scaled_errors(found: Backtest, forecast: Forecast) -> Floats:
    """MASE of each series [slots, T]; the spread is that of the ticks which are not scored.

    Of an instrument with fewer than 20 of them, that of its first 20 ticks.
    """
    outcome = found.outcome
    mases = np.full((len(found.recorded.names), outcome.value.shape[1]), np.nan)
    rows = np.flatnonzero(outcome.valid)
    for own in (rows[part] for part in rows_by_instrument(outcome.slot[rows])):
        kept = own[found.scored[own]]
        history = outcome.value[own[: max(int((own < found.skip).sum()), FEWEST_KNOWN)]]
        for j in range(mases.shape[1] if len(kept) and len(history) > 1 else 0):
            if (history[1:, j] != history[:-1, j]).any():
                error = outcome.value[kept, j] - forecast.point[kept, j]
                mases[outcome.slot[own[0]], j] = scores.mase(error, history[:, j])
    return mases


def by_target(found: Backtest) -> dict[str, dict[str, Any]]:
    """Scores of every contestant, target by target."""
    return {
        q.name: {name: pooled(found, one, j) for name, one in found.forecasts.items()}
        for j, q in enumerate(found.bundle.schema.targets)
    }


def by_series(found: Backtest) -> list[dict[str, Any]]:
    """Our scores for every series that was scored, worst skill first, those without one last."""
    outcome, own = found.outcome, found.forecasts[OWN]
    lower, upper = own.bounds()
    mases = scaled_errors(found, own)
    rows = np.flatnonzero(found.scored)
    series = []
    for kept in (rows[part] for part in rows_by_instrument(outcome.slot[rows])):
        slot = int(outcome.slot[kept[0]])
        unit = unit_of(found.bundle.schema, outcome.naive[kept])
        for j, target in enumerate(found.bundle.schema.targets):
            value = outcome.value[kept, j]
            error = (value - own.point[kept, j]) / unit[:, j]
            naive = (value - outcome.naive[kept, j]) / unit[:, j]
            one = {
                "instrument": found.recorded.names[slot],
                "target": target.name,
                "ticks": len(kept),
                "skill": scores.skill(error, naive),
                "mae": scores.mean_absolute(error),
                "rmse": scores.root_mean_squared(error),
                "mase": float(mases[slot, j]),
                "coverage": scores.coverage(value, lower[kept, j], upper[kept, j]),
                "model_published": float(outcome.model[kept, j].mean()),
            }
            series.append(one)
    return sorted(series, key=lambda one: (math.isnan(one["skill"]), one["skill"]))


def rolling_skill(found: Backtest) -> dict[str, Any]:
    """Skill of each contestant in up to 60 stretches of equally many scored ticks."""
    kept, outcome = np.flatnonzero(found.scored), found.outcome
    parts = max(min(ROLLING_PARTS, len(kept) // FEWEST_PER_PART), 1)
    part: NDArray[np.int64] = np.arange(len(kept)) * parts // len(kept)
    group = np.repeat(part, outcome.value.shape[1])
    unit = unit_of(found.bundle.schema, outcome.naive[kept])
    naive = ((outcome.value[kept] - outcome.naive[kept]) / unit).ravel()
    last = np.append(np.flatnonzero(np.diff(part)), len(kept) - 1)
    return {
        "time_ns": outcome.time_ns[kept[last]].tolist(),
        "ticks": kept[last].tolist(),
        "skill": {
            name: scores.skills(
                ((outcome.value[kept] - one.point[kept]) / unit).ravel(), naive, group, parts
            ).tolist()
            for name, one in found.forecasts.items()
            if name != "persistence"
        },
    }


def finite(told: Any) -> Any:
    """The same, with None for numbers that JSON does not know."""
    if isinstance(told, dict):
        return {name: finite(value) for name, value in told.items()}
    if isinstance(told, list):
        return [finite(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told
