"""What a network of one's own adds to B1, and how its weights should reach the forecasts.

A recurrent network is trained on a set's first rows, four epochs, and then learns on: an update
every 8 ticks, from the last 32. *frozen* keeps the weights of the warm-up, which is what the
service does, *delayed* uses each update 64 ticks later, *inline* at once. One recipe for all sets.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_errors import less, skill_by_variable
from benchmarks.report import show
from slotcast_models import scores
from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle, NetworkSpec
from slotcast_models.columns import Columns
from slotcast_models.predictor import Predictor
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema
from slotcast_models.step import Stage

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
MODES = ("frozen", "delayed", "inline")
CELLS, PHASES = (("lstm", 64),), 2
COLUMNS = ("set", "no network", "slotcast")
Floats = NDArray[np.float64]


class Silent:
    """A network that says "no change"."""

    def __init__(self, spec: NetworkSpec, room: int) -> None:
        sizes = spec.inputs, spec.width, spec.outputs, spec.width
        self.stage = Stage(*(np.zeros((room, size), np.float32) for size in sizes))

    def step(self, n: int) -> None:
        """Outputs stay 0."""


def without_network(bound: Bundle) -> Predictor:
    """The bundle's predictor with a network that says nothing."""
    return Predictor(bound, partial(Silent, bound.manifest.network))


def by_mode(
    columns: Columns,
    schema: TickSchema,
    rules: FoldRules,
    warm_ticks: int,
    seeds: int,
    judge: Callable[[Outcome], Floats],
) -> dict[str, list[Floats]]:
    """What `judge` says of each mode, by seed from 1 on. Needs TensorFlow if there is a seed."""
    found: dict[str, list[Floats]] = {mode: [] for mode in MODES}
    for seed in range(1, seeds + 1):
        from slotcast_models.online import OnlinePredictor, OnlineRecipe, blueprint, warm

        phases = PHASES if schema.seasons else 0
        bundle = blueprint(CELLS, "instrument", phases, rules, schema)
        warmed = warm(bundle, columns, ["set"], OnlineRecipe(warm_ticks, seed=seed))
        for mode in MODES:
            outcome = prequential(OnlinePredictor(warmed, 1, mode), columns, 1)
            found[mode].append(judge(outcome))
    return found


def facts(
    found: dict[str, list[Floats]], own: Floats, naive: Floats, block: int
) -> dict[str, dict[str, Any]]:
    """By mode, from errors [rows, T] by seed, those of the bundle and of persistence.

    MSE and MAE are by seed; skill by variable and the paired difference are over all seeds.
    """
    return {
        mode: {
            "mse": [scores.mean_squared(e) for e in several],
            "mae": [scores.mean_absolute(e) for e in several],
            "skill_by_variable": skill_by_variable(_over_seeds(several), naive),
            "less_than_slotcast": less(_over_seeds(several), own, block),
        }
        for mode, several in found.items()
        if several
    }


def _over_seeds(several: list[Floats]) -> Floats:
    """Errors whose squares are the means over the seeds."""
    return np.sqrt(np.mean(np.square(several), axis=0))


def modes_of(results: dict[str, dict[str, Any]]) -> list[str]:
    """The modes that were run: all or none."""
    return [mode for mode in MODES if all(r["network"].get(mode) for r in results.values())]


def show_table(results: dict[str, dict[str, Any]]) -> None:
    """Mean over the seeds and their range, beside the same readout without such a network."""
    modes = modes_of(results)
    if not modes:
        return
    show(
        "B1: MSE with a network trained on the first rows, LSTM 64, one row per instrument",
        [*COLUMNS, *modes, "MAE, inline", "inline adds"],
        [_row(r, modes) for r in results.values()],
        "Mean over the seeds, in brackets their range. slotcast: with the bundle that is tried, as "
        "the service does; with a network of one's own the service does what `frozen` does.",
    )


def _row(r: dict[str, Any], modes: list[str]) -> list[str]:
    last = r["network"][modes[-1]]
    return [
        r["set"],
        *(f"{r[key]:.4f}" for key in ("no_network", "mse")),
        *(_spread(r["network"][mode]["mse"]) for mode in modes),
        f"{np.mean(last['mae']):.4f}",
        f"{100 * (np.mean(last['mse']) / r['mse'] - 1.0):+.1f} %",
    ]


def _spread(errors: list[float]) -> str:
    mean = f"{np.mean(errors):.4f}"
    return mean if len(errors) == 1 else f"{mean} [dim]({min(errors):.4f} .. {max(errors):.4f})[/]"
