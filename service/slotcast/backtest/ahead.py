"""Free runs in a backtest: from given points on, several ticks ahead on copies of memory.

The memory that runs on is the one that a live service would have had there. Beside it stand
persistence and, where a season is declared, the last season repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast.backtest.intervals import Floats, interval_level, unit_of
from slotcast.backtest.run import Backtest
from slotcast.terminal.progress import Advanced, silently
from slotcast_models import scores
from slotcast_models.baselines import rows_by_instrument
from slotcast_models.columns import chosen
from slotcast_models.memory import TICKS
from slotcast_models.predictor import Predictor

FEWEST_POINTS, MOST_POINTS, MOST_RUNS, PER_POINT = 25, 250, 1_000, 40


@dataclass(frozen=True)
class Runs:
    """Free runs of `steps` ticks, and what came."""

    first: NDArray[np.int64]  # [runs] row of the first tick that is forecast
    now: Floats  # [runs, T]
    actual: Floats  # [runs, steps, T]
    point: Floats  # [runs, steps, T]
    lower: Floats  # [runs, steps, T, L]
    upper: Floats
    seasonal: Floats | None  # [runs, steps, T]


def free_runs(found: Backtest, steps: int, advanced: Advanced = silently) -> Runs:
    """Run on from up to 250 points after the skipped ticks, at each up to 40 instruments.

    Only where `steps` more ticks came, and a season has passed where one is declared. Raises
    ValueError if that is nowhere.
    """
    predictor, columns = Predictor(found.bundle), found.recorded.columns
    own = _ticks_of(found)
    names = found.recorded.names
    rows, memory = predictor.allocate(len(names), names)
    seasons = found.bundle.schema.seasons
    before, runs, n = max((seasons[0] if seasons else 1), 1), [], len(columns.slot)
    seen = 0
    for cut in _points(found):
        poll = chosen(columns, slice(seen, cut))
        published = predictor.allocate_published(cut - seen)
        predictor.advance(memory, poll, np.zeros(cut - seen, np.int8), published)
        seen = cut
        for slot in _ready(own, cut, before, steps):
            if memory.counts[slot, TICKS] > 0:
                at = int(np.searchsorted(own[slot], cut))
                ran = predictor.free_run(rows[slot : slot + 1], steps)
                runs.append((own[slot][at - before : at], own[slot][at : at + steps], ran))
        advanced("running ahead", cut, n)
    if not runs:
        raise ValueError(
            f"--free-run {steps}: no instrument has {before:,} ticks before and {steps:,} after "
            "any point that is not skipped: give fewer steps, or a lower --skip"
        )
    value = found.outcome.value
    phase = np.arange(steps) % before
    return Runs(
        first=np.array([after[0] for _, after, _ in runs]),
        now=np.array([value[past[-1]] for past, _, _ in runs]),
        actual=np.array([value[after] for _, after, _ in runs]),
        point=np.array([ran[0] for _, _, ran in runs]),
        lower=np.array([ran[1] for _, _, ran in runs]),
        upper=np.array([ran[2] for _, _, ran in runs]),
        seasonal=np.array([value[past[phase]] for past, _, _ in runs]) if seasons else None,
    )


def _ticks_of(found: Backtest) -> dict[int, NDArray[np.int64]]:
    """Slot -> rows of its valid ticks."""
    rows = np.flatnonzero(found.outcome.valid)
    slot = found.outcome.slot[rows]
    return {int(slot[part[0]]): rows[part] for part in rows_by_instrument(slot)}


def _points(found: Backtest) -> list[int]:
    """Evenly spaced rows after the skipped ones: more of them for few instruments."""
    wanted = MOST_RUNS // min(len(found.recorded.names), PER_POINT)
    wanted = min(max(wanted, FEWEST_POINTS), MOST_POINTS)
    first, end = max(found.skip, 1), len(found.outcome.slot)
    spaced = np.linspace(first, end, wanted, endpoint=False)
    return [int(row) for row in np.unique(spaced.astype(np.int64))]


def _ready(
    own: dict[int, NDArray[np.int64]], cut: int, before: int, after: int
) -> NDArray[np.int64]:
    """Up to 40 slots with enough ticks on both sides of the cut, evenly chosen."""
    ready = []
    for slot, rows in own.items():
        at = int(np.searchsorted(rows, cut))
        if at >= before and len(rows) - at >= after:
            ready.append(slot)
    spaced = np.linspace(0, len(ready), min(PER_POINT, len(ready)), endpoint=False)
    return np.array(ready, np.int64)[spaced.astype(np.int64)]


def horizon_facts(found: Backtest, runs: Runs) -> dict[str, Any]:
    """Errors by step ahead, ours and others', and the coverage of our intervals."""
    steps = runs.actual.shape[1]
    unit = unit_of(found.bundle.schema, runs.now)[:, None]
    naive = (runs.actual - runs.now[:, None]) / unit
    level = interval_level(found.levels)
    at = found.levels.index(level)
    contestants = {"slotcast": (runs.actual - runs.point) / unit, "persistence": naive}
    if runs.seasonal is not None:
        contestants["seasonal naive"] = (runs.actual - runs.seasonal) / unit
    covered = [
        scores.coverage(runs.actual[:, h], runs.lower[:, h, :, at], runs.upper[:, h, :, at])
        for h in range(steps)
    ]
    return {
        "steps": steps,
        "runs": len(runs.first),
        "coverage": covered,
        "forecasts": {
            name: {
                "skill": scores.skill(error, naive),
                "mae": scores.mean_absolute(error),
                "rmse": scores.root_mean_squared(error),
                "skill_by_step": [scores.skill(error[:, h], naive[:, h]) for h in range(steps)],
                "mae_by_step": [scores.mean_absolute(error[:, h]) for h in range(steps)],
                "rmse_by_step": [scores.root_mean_squared(error[:, h]) for h in range(steps)],
            }
            for name, error in contestants.items()
        },
    }
