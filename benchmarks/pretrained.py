"""Train a network for streams nobody has seen: one small LSTM on generated series of many kinds.

    make bundle                              from generated series alone: build/bundles/pretrained
    make bundle ARGS="--out DIR --seed 2"    another one elsewhere
    make bundle ARGS="--data"                on the recorded sets that you have too

Series and weights follow from the seed, so whoever runs it gets the same network. `--data` adds the
parts to learn from of the sets of benchmarks/transfer_sets.py (`../shared/data`, `SLOTCAST_DATA`).
The network sees one target's scaled changes, so it fits every schema. What it is worth,
`make bench-transfer` shows. Needs TensorFlow.
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
from slotcast_models.bundle import Bundle, Manifest, NetworkSpec
from slotcast_models.memory import BASE
from slotcast_models.recording import Recorder, Sequence, Wave
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
NAME, OUT = "pretrained", Path("build/bundles/pretrained")
CELLS, INPUTS = (("lstm", 32),), 3
SEED, EACH, EPOCHS, RATE = 7, 100, 8, 1e-3
SHARE = 0.6
"""The network learns the next change less this share of what the readout says of it. Of all of it
(1.0) it learns to mend the readout alone, with nothing (0.0) also what a season will bring, which
the readout knows better."""
PLACES = 1_000_000


class _Remainder(Recorder):
    """Labels are what the readout leaves for the network."""

    def __init__(self, bundle: Bundle, instruments: int, share: float) -> None:
        self._share = share
        super().__init__(bundle, instruments)

    def _watch(self, wave: Wave) -> None:
        said = self._share * self._memory.target[wave.slots, :, BASE]
        super()._watch(wave._replace(label=(wave.label - said).astype(wave.label.dtype)))


def blank() -> Bundle:
    """A bundle of the network without a program: it can be recorded with."""
    spec = NetworkSpec(
        cells=CELLS,
        inputs=INPUTS,
        outputs=1,
        width=sum(2 * units for _, units in CELLS),
        parameters=0,
        training="to be trained",
    )
    return Bundle(Manifest(name=NAME, network=spec, rules=FoldRules(), files={}), b"")


def recorded(ticks: Ticks, share: float = SHARE) -> list[Sequence]:
    """What the network sees of a set. Its ticks are counted in millionths of the set, so that of
    sets that are trained on side by side each has its last fifth held back.
    """
    recorder = _Remainder(blank().bind(ticks.schema), ticks.slots, share)
    recorder.record(ticks.columns())
    sequences = recorder.sequences([str(slot) for slot in range(ticks.slots)])
    return [replace(s, entry=s.entry * PLACES // len(ticks.slot)) for s in sequences]


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


def make(
    out: Path, sets: Mapping[str, list[Ticks]], seed: int, epochs: int, share: float = SHARE
) -> None:
    """Train on the named sets and write the bundle with its report."""
    from slotcast_models.heads import Head
    from slotcast_models.trained import report_of, save_trained, spec_of

    every = [ticks for several in sets.values() for ticks in several]
    training = train([s for ticks in every for s in recorded(ticks, share)], seed, epochs)
    facts = {
        "source": ", ".join(sets),
        "seed": seed,
        "share_of_readout": share,
        "ticks": sum(len(ticks.slot) for ticks in every),
        "instruments": sum(ticks.slots for ticks in every),
    }
    words = f"trained on {facts['source']}, {facts['ticks']:,} ticks, seed {seed}"
    spec = spec_of(training.network, "target", Head(), 0, words)
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
    parser.add_argument("--share", type=float, default=SHARE, help="of the readout, see SHARE")
    parser.add_argument("--data", action="store_true", help="train on recorded sets too")
    options = parser.parse_args()
    from slotcast_models.learner import one_thread

    one_thread()
    series = generated(options.seed, options.each)
    sets = {f"{sum(ticks.slots for ticks in series):,} generated series": series}
    if options.data:
        from benchmarks.transfer_sets import learnt_from

        sets |= learnt_from()
    make(options.out, sets, options.seed, options.epochs, options.share)


if __name__ == "__main__":
    main()
