"""What a network adds to the readout, and how its weights should reach the forecasts.

    make bench-network-learning
    make bench-network-learning ARGS="--only ETTh2 --seeds 3"

Protocol B1 (benchmarks/forecast_online.py). A recurrent network is trained on the first rows, four
epochs, and then learns on: an update every 8 ticks, from the last 32. *frozen* keeps the weights of
the warm-up, *delayed* uses each update 64 ticks later, *inline* at once. One recipe for all sets.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from benchmarks.forecast_online import PROTOCOLS, errors
from benchmarks.report import show, write
from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
SETS = ("ETTh2", "ETTm1", "WTH")
MODES = ("frozen", "delayed", "inline")
CELLS, PHASES = (("lstm", 64),), 2


def run(name: str, seeds: int) -> dict[str, Any]:
    """Facts of one set: errors without a network, and in each mode by seed."""
    from slotcast_models.online import OnlinePredictor, OnlineRecipe, blueprint, warm

    protocol = PROTOCOLS[name]
    ticks = protocol.load()
    scaling, first, end = protocol.rows(len(ticks.value))
    columns, rules = chosen(ticks.columns(), slice(0, end)), Bundle.load().manifest.rules
    spread, scored = ticks.value[:scaling].std(axis=0), slice(first, end)

    def facts(outcome: Outcome) -> dict[str, Any]:
        return errors(outcome, scored, spread, protocol.block)

    readout = facts(prequential(Predictor(Bundle.load().bind(ticks.schema)), columns, 1))
    bundle = blueprint(CELLS, "instrument", PHASES, rules, ticks.schema)
    found: dict[str, Any] = {"set": name, "published": protocol.published, "no network": readout}
    for seed in range(1, seeds + 1):
        warmed = warm(bundle, columns, [name], OnlineRecipe(scaling, seed=seed))
        for mode in MODES:
            outcome = prequential(OnlinePredictor(warmed, 1, mode), columns, 1)
            found.setdefault(mode, []).append(facts(outcome))
    return found


def row(found: dict[str, Any]) -> list[str]:
    """A line of the table: the mean over the seeds."""
    alone = found["no network"]
    by_mode = [f"{np.mean([one['mse'] for one in found[mode]]):.4f}" for mode in MODES]
    base = [f"{found['published']:.3f}", f"{alone['persistence']:.4f}", f"{alone['mse']:.4f}"]
    gain = np.mean([one["mse"] for one in found["inline"]]) / alone["mse"] - 1.0
    return [found["set"], *base, *by_mode, f"{100 * gain:+.1f} %"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=SETS)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    from slotcast_models.learner import one_thread

    one_thread()
    results = [run(name, options.seeds) for name in options.only or SETS]
    columns = ["set", "published", "persistence", "no network", *MODES, "inline adds"]
    show("MSE of the next row, standardised", columns, [row(found) for found in results])
    write("network-learning", {found["set"]: found for found in results})


if __name__ == "__main__":
    main()
