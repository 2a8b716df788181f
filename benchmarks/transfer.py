"""B6: does a network that was trained elsewhere help on streams it never saw?

    make bench-transfer
    make bench-transfer ONLY=turbofan             one folder of data
    make bench-transfer ARGS="--bundle DIR"       a bundle made by `make bundle`, for `generated`

Every stream goes through the live predictor with three networks: an untrained one; one trained on
all *other* folders of data and on generated series; one trained on generated series alone, as the
default bundle's is. No network and no choice has seen a scored tick: benchmarks/transfer_sets.py
says which ticks are learnt from and which are scored.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pretrained import CELLS, EPOCHS, INPUTS, SEED, blank, recorded, train
from benchmarks.report import goal, show, write
from benchmarks.series import generated
from benchmarks.transfer_sets import SETS, Parts, ages, parts, present
from slotcast_models import scores
from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle
from slotcast_models.predictor import Predictor
from slotcast_models.recording import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
Floats = NDArray[np.float64]
EACH, YOUNG_TICKS = 40, 200
NETWORKS = ("untrained", "others", "generated")


def bundle_of(network: Any) -> Bundle:
    """The network as a bundle with the default rules."""
    from slotcast_models.export import export_step

    return Bundle(blank().manifest, export_step(network))


def untrained() -> Bundle:
    """A network whose head is zero."""
    from slotcast_models.network import build_network

    return bundle_of(build_network(CELLS, INPUTS, 1))


def run(stream: Parts, bundles: dict[str, Bundle]) -> dict[str, Any]:
    """Skill of one stream by network; beside it that of the readout without one."""
    ticks, facts = stream.run, {}
    for name, bundle in bundles.items():
        predictor = Predictor(bundle.bind(ticks.schema))
        outcome = prequential(predictor, ticks.columns(), ticks.slots)
        price = ticks.schema.kind == "price"
        if name == "untrained":
            facts["readout alone"] = skills(outcome, outcome.readout, stream.scored, price)
        facts[name] = skills(outcome, outcome.point, stream.scored, price)
    return {
        "kind": ticks.schema.kind,
        "ticks": int(stream.scored.sum()),
        "instruments": ticks.slots,
        "skill": facts,
    }


def skills(
    outcome: Outcome, forecast: Floats, scored: NDArray[np.bool_], price: bool
) -> dict[str, float | None]:
    """Over the scored ticks, and the median over series of the first `YOUNG_TICKS` of each."""
    kept = scored & outcome.scored
    naive, slot = outcome.naive[kept], outcome.slot[kept]
    unit = naive if price else np.ones(1)
    missed = (outcome.value[kept] - naive) / unit
    error = (outcome.value[kept] - forecast[kept]) / unit
    young = ages(outcome.slot)[kept] < YOUNG_TICKS

    def by_series(part: NDArray[np.bool_]) -> Floats:
        found = scores.skills(error[part], missed[part], slot[part], int(slot.max()) + 1).ravel()
        return np.asarray(found[~np.isnan(found)])

    each = by_series(np.ones(len(slot), bool))
    return {
        "pooled": scores.skill(error, missed),
        "median": float(np.median(each)),
        "worst": float(each.min()),
        "young": float(np.median(by_series(young))) if young.any() else None,
    }


def others(known: dict[str, list[Sequence]], left_out: str) -> list[Sequence]:
    """Everything to learn from but the folder that is left out."""
    return [s for folder, several in known.items() if folder != left_out for s in several]


def main() -> None:
    options = arguments()
    from slotcast_models.learner import one_thread

    one_thread()
    here = [folder for folder in SETS if present(folder)]
    print(f"not here, so left out: {', '.join(sorted(set(SETS) - set(here))) or 'nothing'}")
    streams = {
        folder: {name: parts(folder, load()) for name, load in SETS[folder].items()}
        for folder in here
    }
    known = {
        folder: [s for part in several.values() if part.learnt for s in recorded(part.learnt)]
        for folder, several in streams.items()
    }
    known["generated"] = [s for ticks in generated(SEED, EACH) for s in recorded(ticks)]
    fixed = {
        "untrained": untrained(),
        "generated": Bundle.load(options.bundle)
        if options.bundle
        else bundle_of(train(known["generated"], SEED, options.epochs).network),
    }
    results: dict[str, Any] = {}
    for folder in options.only or here:
        print(f"{folder}: training on the others", flush=True)
        network = train(others(known, folder), SEED, options.epochs).network
        bundles = {**fixed, "others": bundle_of(network)}
        for name, stream in streams[folder].items():
            results[name] = {"folder": folder, **run(stream, bundles)}
    show_table(results)
    write("transfer" if not options.only else "transfer-" + "-".join(options.only), results)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], choices=list(SETS))
    parser.add_argument("--bundle", type=Path, help="for `generated`, instead of training it")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    return parser.parse_args()


def show_table(results: dict[str, Any]) -> None:
    """B6 for people: pooled skill of prices, median skill of sensors."""
    rows = []
    for name, found in results.items():
        skill, at = found["skill"], _measure(found["kind"])
        rows.append(
            [
                name,
                f"{found['ticks']:,}",
                *(_percent(skill[who][at]) for who in ("readout alone", *NETWORKS)),
                *(_percent(skill[who]["young"]) for who in NETWORKS),
                *(_percent(skill[who]["worst"]) for who in NETWORKS),
            ]
        )
    short = [f"{part}, {who}" for part in ("young", "worst") for who in NETWORKS]
    show(
        "B6: skill over persistence in %, with networks that never saw the stream's folder",
        ["stream", "ticks", "readout", *NETWORKS, *short],
        rows,
        f"Pooled for prices, else the median over series. Young: a series' first {YOUNG_TICKS} "
        "ticks. `others` is trained on all other folders and generated series.",
        *(_verdict(results, who, kind) for who in NETWORKS[1:] for kind in ("sensor", "price")),
    )


def _measure(kind: str) -> str:
    return "pooled" if kind == "price" else "median"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _verdict(results: dict[str, Any], who: str, kind: str) -> str:
    """Whether this network helps: more skill of sensors on average, prices no worse."""
    skills = [found["skill"] for found in results.values() if found["kind"] == kind]
    if not skills:
        return f"no {kind}s"
    at = _measure(kind)
    gains = np.array([s[who][at] - s["untrained"][at] for s in skills])
    worst = min(s[who]["worst"] for s in skills)
    pooled = min(s[who]["pooled"] for s in skills)
    reached = gains.mean() > 0.0 if kind == "sensor" else pooled >= -0.001 and worst >= -0.01
    return goal(
        bool(reached),
        f"{kind}s with `{who}`: {100 * gains.mean():+.2f} on average, more on "
        f"{int((gains > 0.0).sum())} of {len(gains)} streams, worst series {100 * worst:.2f} %",
    )


if __name__ == "__main__":
    main()
