"""What a network of one's own adds to B1, and how its weights should reach the forecasts.

A recurrent network is trained on a set's first rows, four epochs, and then learns on: an update
every 8 ticks, from the last 32. *frozen* keeps the weights of the warm-up, which is what the
service does, *delayed* uses each update 64 ticks later, *inline* at once. One recipe for all sets.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.report import show
from slotcast_models.backtest import Outcome, prequential
from slotcast_models.columns import Columns
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
MODES = ("frozen", "delayed", "inline")
CELLS, PHASES = (("lstm", 64),), 2


def by_mode(
    columns: Columns,
    schema: TickSchema,
    rules: FoldRules,
    warm_ticks: int,
    seeds: int,
    facts: Callable[[Outcome], dict[str, Any]],
) -> dict[str, list[dict[str, Any]]]:
    """Facts of one set in each mode, by seed from 1 on. Needs TensorFlow if there is a seed."""
    found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for seed in range(1, seeds + 1):
        from slotcast_models.online import OnlinePredictor, OnlineRecipe, blueprint, warm

        phases = PHASES if schema.seasons else 0
        bundle = blueprint(CELLS, "instrument", phases, rules, schema)
        warmed = warm(bundle, columns, ["set"], OnlineRecipe(warm_ticks, seed=seed))
        for mode in MODES:
            outcome = prequential(OnlinePredictor(warmed, 1, mode), columns, 1)
            found[mode].append(facts(outcome))
    return found


def show_table(results: dict[str, dict[str, Any]]) -> None:
    """Mean over the seeds and their range, beside the same readout without such a network."""
    rows = []
    for r in results.values():
        errors = {mode: [one["mse"] for one in r["network"][mode]] for mode in MODES}
        if not errors["inline"]:
            continue
        known = (f"{r[key]:.4f}" for key in ("published", "persistence", "readout_alone", "mse"))
        gain = np.mean(errors["inline"]) / r["mse"] - 1.0
        rows.append([r["set"], *known, *map(_spread, errors.values()), f"{100 * gain:+.1f} %"])
    if rows:
        show(
            "B1: MSE with a network trained on the first rows, one row per instrument",
            ["set", "published", "persistence", "readout alone", "MSE", *MODES, "inline adds"],
            rows,
            "Frozen is what the service does. In brackets the range over the seeds (SEEDS=3).",
        )


def _spread(errors: list[float]) -> str:
    mean = f"{np.mean(errors):.4f}"
    return mean if len(errors) == 1 else f"{mean} [dim]({min(errors):.4f} .. {max(errors):.4f})[/]"
