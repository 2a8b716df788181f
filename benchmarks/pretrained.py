"""Train a network for streams nobody has seen: one small LSTM on generated series of many kinds.

    make bundle                              from generated series alone: build/bundles/default
    make bundle ARGS="--out DIR --seed 2"    another one elsewhere
    make bundle ARGS="--data"                on the recorded sets that you have too

Series and weights follow from the seed, so whoever runs it gets the same network. `--data` adds the
parts to learn from of the sets of benchmarks/transfer_sets.py (`../shared/data`, `SLOTCAST_DATA`).
The network sees one target's scaled changes and what the readout says of the next, so it fits every
schema; it learns what is left to correct. The default bundle of the package is made by this command
without options. What it is worth, `make bench-transfer` shows. Needs TensorFlow.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.forecast_sets import Ticks
from benchmarks.series import generated
from slotcast_models.bundle import Bundle, Manifest, NetworkSpec, network_sizes
from slotcast_models.recording import Recorder, Sequence
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
NAME, OUT = "default", Path("build/bundles/default")
CELLS = (("lstm", 32),)
INPUTS, _ = network_sizes(TickSchema.default(), "target", corrects=True)
CANDIDATE = 3
"""Where among the inputs stands the change that the network is to correct."""
SEED, EACH, EPOCHS, RATE = 7, 100, 16, 1e-3
PLACES = 1_000_000


def blank() -> Bundle:
    """A bundle of the network without a program: it can be recorded with."""
    spec = NetworkSpec(
        cells=CELLS,
        inputs=INPUTS,
        outputs=1,
        width=sum(2 * units for _, units in CELLS),
        corrects=True,
        parameters=0,
        training="to be trained",
    )
    return Bundle(Manifest(name=NAME, network=spec, rules=FoldRules(), files={}), b"")


def recorded(ticks: Ticks) -> list[Sequence]:
    """What the network sees of a set, labelled with what is left to correct.

    Ticks are counted in millionths of the set, so that of sets that are trained on side by side
    each has its last fifth held back.
    """
    recorder = Recorder(blank().bind(ticks.schema), ticks.slots)
    recorder.record(ticks.columns())
    sequences = recorder.sequences([str(slot) for slot in range(ticks.slots)])
    return [
        replace(
            s,
            entry=s.entry * PLACES // len(ticks.slot),
            label=s.label - s.x[:, CANDIDATE : CANDIDATE + 1],
        )
        for s in sequences
    ]


def train(sequences: list[Sequence], seed: int, epochs: int) -> Any:
    """The training of a network on these sequences, ended. Equal arguments give equal weights."""
    import keras

    from slotcast_models.learner import LearningRule
    from slotcast_models.network import build_network
    from slotcast_models.training import Recipe, Training

    keras.utils.set_random_seed(seed)
    recipe = Recipe(rule=LearningRule(rate=RATE), epochs=epochs)
    training = Training(build_network(CELLS, INPUTS, 1), sequences, recipe)
    for moment in training.run():
        if moment.update == moment.updates:
            print(f"epoch {moment.epoch}: loss {moment.loss:.4f}", flush=True)
    return training


def make(out: Path, sets: Mapping[str, list[Ticks]], seed: int, epochs: int) -> None:
    """Train on the named sets and write the bundle with its report."""
    from slotcast_models.heads import Head
    from slotcast_models.trained import report_of, save_trained, spec_of

    every = [ticks for several in sets.values() for ticks in several]
    training = train([s for ticks in every for s in recorded(ticks)], seed, epochs)
    facts = {
        "source": ", ".join(sets),
        "seed": seed,
        "ticks": sum(len(ticks.slot) for ticks in every),
        "instruments": sum(ticks.slots for ticks in every),
    }
    words = f"trained on {facts['source']}, {facts['ticks']:,} ticks, seed {seed}"
    spec = spec_of(training.network, "target", Head(), 0, words)
    spec = spec.model_copy(update={"corrects": True})
    report = report_of(training, facts)
    save_trained(out, NAME, training.network, spec, blank().bind(TickSchema.default()), report)
    print(f"wrote {out}: {words}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--each", type=int, default=EACH, help="series of each kind")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--data", action="store_true", help="train on recorded sets too")
    options = parser.parse_args()
    from slotcast_models.learner import one_thread

    one_thread()
    series = generated(options.seed, options.each)
    sets = {f"{sum(ticks.slots for ticks in series):,} generated series": series}
    if options.data:
        from benchmarks.transfer_sets import learnt_from

        sets |= learnt_from()
    make(options.out, sets, options.seed, options.epochs)


if __name__ == "__main__":
    main()
