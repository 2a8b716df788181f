"""How long to train the network for unseen streams, judged by ticks that may be chosen from.

    make bench-choosing                            after 4, 8, 12 and 16 epochs
    make bench-choosing ARGS="--epochs 24"         after others
    make bench-choosing ARGS="--bundle DIR"        a bundle made by `make bundle`, beside them

None of these ticks is scored in B6 (benchmarks/transfer_sets.py): 15 generated sets of a seed of
their own, one for each kind of series and each length of a day, and the parts to learn from of the
recorded sets, from which the network learns nothing. What helps is the difference to an untrained
network in the same fold. Beside it stands what training says of itself: the skill over the last
fifth of the generated ticks, if all of each correction is added, and if the best share is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import Ticks
from benchmarks.pretrained import EACH, SEED, recorded, train
from benchmarks.report import show, write
from benchmarks.series import KINDS, generated
from benchmarks.transfer import bundle_of, untrained
from benchmarks.transfer_sets import SETS, ages, kept, parts, present
from slotcast_models import scores
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle
from slotcast_models.features import AGE_SCALE
from slotcast_models.predictor import Predictor

Floats = NDArray[np.float64]
AGES = (0, 20, 60, 200, 500, 10**9)
EPOCHS, CHOICE_SEED, CHOICE_EACH, YOUNG_TICKS = (4, 8, 12, 16), 2027, 40, 60
ORIGINS = ("generated", "recorded")


class Choice(NamedTuple):
    """A set to choose by."""

    origin: str
    name: str
    ticks: Ticks


def choices(each: int = CHOICE_EACH) -> Iterator[Choice]:
    """Generated sets by kind and by length of a day; of recorded ones the parts to learn from."""
    mixed, *seasonal = generated(CHOICE_SEED, each)
    for i, kind in enumerate(KINDS):
        yield Choice("generated", kind, kept(mixed, mixed.slot // each == i))
    for ticks in seasonal:
        yield Choice("generated", f"day of {ticks.schema.seasons[0]}", ticks)
    for folder, streams in SETS.items():
        if present(folder):
            for name, load in streams.items():
                learnt = parts(folder, load()).learnt
                if learnt is not None:
                    yield Choice("recorded", name, learnt)


def skills(ticks: Ticks, bundle: Bundle) -> tuple[float, float]:
    """Mean skill over the series of a set: of all their ticks, and of the first of each."""
    outcome = prequential(Predictor(bundle.bind(ticks.schema)), ticks.columns(), ticks.slots)
    scored = outcome.scored
    unit = outcome.naive[scored] if ticks.schema.kind == "price" else np.ones(1)
    error, missed = (
        (outcome.value[scored] - forecast[scored]) / unit
        for forecast in (outcome.point, outcome.naive)
    )
    slot, young = outcome.slot[scored], ages(outcome.slot)[scored] < YOUNG_TICKS
    whole, early = (
        scores.skills(error[part], missed[part], slot[part], ticks.slots)
        for part in (np.ones(len(slot), bool), young)
    )
    return float(np.nanmean(whole)), float(np.nanmean(early))


def held_back(training: Any) -> dict[str, Any]:
    """Skill of the corrections over the ticks that training held back, whole and at best share.

    `by_age` is the skill over all ticks, whole, by how many the series had before.
    """
    lanes, said = training.outputs(training.best)
    known = np.isfinite(lanes.label[..., 0])
    left, said = (part[..., 0][known].astype(float) for part in (lanes.label, said))
    later = lanes.entry[known] >= training.cut
    age = np.expm1(AGE_SCALE * lanes.x[known][:, -1].astype(float)).round()
    share = float(left[later] @ said[later] / (said[later] @ said[later]))
    return {
        "epoch": training.best_epoch,
        "youngest": int(age[later].min()),
        "skill": scores.skill((left - said)[later], left[later]),
        "share": share,
        "skill_at_share": scores.skill((left - share * said)[later], left[later]),
        "by_age": [
            scores.skill((left - said)[part], left[part])
            for part in ((first <= age) & (age < last) for first, last in pairwise(AGES))
        ],
    }


def main() -> None:
    options = arguments()
    from slotcast_models.learner import one_thread

    one_thread()
    sequences = [s for ticks in generated(SEED, EACH) for s in recorded(ticks)]
    bundles, told = {"untrained": untrained()}, {}
    for epochs in options.epochs or EPOCHS:
        training = train(sequences, SEED, epochs)
        name = f"{epochs} epochs"
        bundles[name], told[name] = bundle_of(training.network), held_back(training)
    bundles |= {str(path): Bundle.load(path) for path in options.bundle}
    found = {
        choice.name: {"origin": choice.origin}
        | {name: skills(choice.ticks, bundle) for name, bundle in bundles.items()}
        for choice in choices()
    }
    show_table(found, told)
    if told:
        show_ages(told)
    write("choosing", {"sets": found, "held_back": told})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, action="append", default=[])
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    return parser.parse_args()


def show_table(found: dict[str, dict[str, Any]], told: dict[str, dict[str, Any]]) -> None:
    """Gains over the untrained network in points of skill, and how many sets gain and lose."""
    names = [name for name in next(iter(found.values())) if name not in ("origin", "untrained")]
    columns = [part for origin in ORIGINS for part in (origin, f"young, {origin}")]
    show(
        "More skill than with an untrained network, in points, mean over sets (more, less)",
        ["network", *columns, "best epoch", "held back, in %", "at the best share"],
        [
            [
                name,
                *(_cell(gain(found, name, origin, i)) for origin in ORIGINS for i in range(2)),
                *(_own(told[name]) if name in told else ("", "", "")),
            ]
            for name in names
        ],
        f"Young: the first {YOUNG_TICKS} ticks of each series.",
    )


def show_ages(told: dict[str, dict[str, Any]]) -> None:
    """Where there is something to correct."""
    spans = [f"{first} .. {last - 1}" for first, last in pairwise(AGES[:-1])]
    show(
        "Skill of all of a correction over the generated ticks, in %, by ticks that a series had",
        ["network", *spans, f"from {AGES[-2]}", "held back: youngest"],
        [
            [name, *(f"{100 * skill:.2f}" for skill in own["by_age"]), f"{own['youngest']}"]
            for name, own in told.items()
        ],
    )


def _own(told: dict[str, Any]) -> tuple[str, str, str]:
    at_share = f"{100 * told['skill_at_share']:.2f} [dim](x {told['share']:.2f})[/]"
    return f"{told['epoch']}", f"{100 * told['skill']:.2f}", at_share


def gain(found: dict[str, dict[str, Any]], name: str, origin: str, i: int) -> Floats:
    """Points of skill by set, of all ticks (0) or of young ones (1)."""
    return np.array(
        [
            100.0 * (one[name][i] - one["untrained"][i])
            for one in found.values()
            if one["origin"] == origin
        ]
    )


def _cell(gains: Floats) -> str:
    if not len(gains):
        return "-"
    more, less = ((sign * gains > 0.005).sum() for sign in (1, -1))
    return f"{gains.mean():+.2f} [dim]({more}, {less})[/]"


if __name__ == "__main__":
    main()
