"""What a network of one's own has to be like where a goal of B1 is missed: size, rows, training.

    make bench-ablation-networks                          WTH, on the rows before the scored ones
    make bench-ablation-networks ARGS="--set ETTh2"       another set of B1
    make bench-ablation-networks ARGS="--only '2 x LSTM 64' --scored"

One thing is changed at a time of the network of B1: LSTM 64, one row per instrument, four epochs,
an update every 8 ticks from the last 32. To choose by, it is trained on the first four sevenths of
the rows before the scored ones and judged on the rest of these. With `--scored` it is also trained
and judged as in B1, which takes some minutes each. Needs TensorFlow.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from benchmarks.forecast_networks import CELLS, PHASES, without_network
from benchmarks.forecast_online import PROTOCOLS
from benchmarks.forecast_sets import Ticks
from benchmarks.report import show, write
from slotcast_models import scores
from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.columns import chosen
from slotcast_models.predictor import Predictor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
AS_IT_IS = "LSTM 64"
VARIANTS: dict[str, dict[str, Any]] = {
    AS_IT_IS: {},
    "LSTM 32": {"cells": (("lstm", 32),)},
    "LSTM 128": {"cells": (("lstm", 128),)},
    "LSTM 256": {"cells": (("lstm", 256),)},
    "2 x LSTM 64": {"cells": (("lstm", 64), ("lstm", 64))},
    "GRU 64": {"cells": (("gru", 64),)},
    "a row per target, LSTM 32": {"cells": (("lstm", 32),), "rows": "target"},
    "2 epochs": {"epochs": 2},
    "8 epochs": {"epochs": 8},
    "rate 2e-4": {"rate": 2e-4},
    "rate 1e-3": {"rate": 1e-3},
    "an update every 4 ticks": {"stride": 4},
    "from the last 64 ticks": {"window": 64},
    "LSTM 128, 8 epochs": {"cells": (("lstm", 128),), "epochs": 8},
    "LSTM 128, 16 epochs": {"cells": (("lstm", 128),), "epochs": 16},
    "LSTM 256, 8 epochs": {"cells": (("lstm", 256),), "epochs": 8},
    "a readout without siblings": {"rules": {"siblings": 0}},
}
MODES = ("frozen", "inline")


class Part:
    """Rows of a set that networks are trained and judged on."""

    def __init__(self, ticks: Ticks, spread: Any, warm_ticks: int, first: int, end: int) -> None:
        self.schema, self.warm_ticks = ticks.schema, warm_ticks
        self.columns = chosen(ticks.columns(), slice(0, end))
        self._spread, self._scored = spread, slice(first, end)

    def mse(self, outcome: Outcome) -> float:
        """Of z-scored values."""
        error = (outcome.value - outcome.point)[self._scored] / self._spread
        return scores.mean_squared(error)


def parts_of(name: str, scored: bool) -> dict[str, Part]:
    """The rows before the scored ones of a set of B1, and if wanted the scored ones."""
    protocol = PROTOCOLS[name]
    ticks = protocol.load()
    scaling, first, end = protocol.rows(len(ticks.value))
    spread, warm_ticks = ticks.value[:scaling].std(axis=0), first * 4 // 7
    found = {"before": Part(ticks, spread, warm_ticks, warm_ticks, first)}
    return found | {"scored": Part(ticks, spread, scaling, first, end)} if scored else found


def judged(part: Part, changed: dict[str, Any]) -> dict[str, float]:
    """MSE of a network by mode: the rows' first ones are its warm-up."""
    from slotcast_models.learner import LearningRule
    from slotcast_models.online import OnlinePredictor, OnlineRecipe, blueprint, warm
    from slotcast_models.rules import FoldRules

    rules = Bundle.load().manifest.rules.model_dump() | changed.get("rules", {})
    learning = {name: changed[name] for name in ("rate", "stride", "window") if name in changed}
    bundle = blueprint(
        changed.get("cells", CELLS),
        changed.get("rows", "instrument"),
        PHASES if part.schema.seasons else 0,
        FoldRules(**rules),
        part.schema,
    )
    recipe = OnlineRecipe(
        part.warm_ticks, epochs=changed.get("epochs", 4), rule=LearningRule(**learning)
    )
    warmed = warm(bundle, part.columns, ["set"], recipe)
    return {
        mode: part.mse(prequential(OnlinePredictor(warmed, 1, mode), part.columns, 1))
        for mode in MODES
    }


def bundled(part: Part) -> dict[str, float]:
    """MSE of the default bundle, and of its rules without a network."""
    bound = Bundle.load().bind(part.schema)
    predictors = {"no network": without_network(bound), "default bundle": Predictor(bound)}
    return {
        name: part.mse(prequential(predictor, part.columns, 1))
        for name, predictor in predictors.items()
    }


def main() -> None:
    options = arguments()
    from slotcast_models.learner import one_thread

    one_thread()
    parts = parts_of(options.set, options.scored)
    known = {title: bundled(part) for title, part in parts.items()}
    results: dict[str, dict[str, float]] = {
        name: {title: found[name] for title, found in known.items()}
        for name in ("no network", "default bundle")
    }
    for name in [AS_IT_IS, *options.only] if options.only else VARIANTS:
        results[name] = {
            f"{title}, {mode}": mse
            for title, part in parts.items()
            for mode, mse in judged(part, VARIANTS[name]).items()
        }
        print(f"{name}: {results[name]}", flush=True)
    show_table(options.set, list(parts), results)
    write(f"ablation-networks-{options.set}", results)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--set", default="WTH", choices=PROTOCOLS)
    parser.add_argument("--scored", action="store_true", help="judge the scored rows too")
    return parser.parse_args()


def show_table(name: str, titles: list[str], results: dict[str, dict[str, float]]) -> None:
    """MSE by part and mode; what has no network has no mode."""
    rows = [
        [
            variant,
            *(
                f"{found.get(f'{title}, {mode}', found.get(title, np.nan)):.4f}"
                for title in titles
                for mode in MODES
            ),
        ]
        for variant, found in results.items()
    ]
    show(
        f"One thing changed of a network of one's own: MSE of {name}",
        ["network", *(f"{title}, {mode}" for title in titles for mode in MODES)],
        rows,
        "before: rows before the scored ones, to choose by.",
    )


if __name__ == "__main__":
    main()
