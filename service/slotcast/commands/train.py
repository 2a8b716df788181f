"""`slotcast train`: a bundle from recorded ticks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcast.commands import options
from slotcast.commands.options import fail, failing

if TYPE_CHECKING:
    from slotcast.feeds.columns import Recorded
    from slotcast_models.bundle import Bundle
    from slotcast_models.heads import Head
    from slotcast_models.recording import Sequence
    from slotcast_models.rules import FoldRules
    from slotcast_models.schema import TickSchema
    from slotcast_models.trained import Rows
    from slotcast_models.training import Training

CELL = re.compile(r"(lstm|gru|rnn):([1-9][0-9]*)")
NEEDS = "needs TensorFlow, which is not installed: run  pip install 'slotcast[train]'"


def need_tensorflow(command: str) -> None:
    """Fail with the way out if TensorFlow is missing; else keep its start quiet."""
    import importlib.util
    import os

    if importlib.util.find_spec("tensorflow") is None:
        fail(f"{command} {NEEDS}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums depend on the machine


@dataclass(frozen=True)
class Plan:
    """What is to be trained, as the command line says it."""

    cells: tuple[tuple[str, int], ...]
    network: Path | None
    rows: Any
    head: Head
    phases: int
    embedding: int
    seed: int


def train(
    source: options.Source,
    out: Annotated[Path, typer.Option(help="Bundle directory to write.")],
    config: options.Config = None,
    offsets: options.OffsetRange = None,
    value: options.TargetColumns = None,
    instrument: options.Column = None,
    name: options.SeriesName = None,
    time: options.Column = None,
    time_unit: options.TimeUnit = None,
    sequence: options.Column = None,
    positive: options.Positive = False,
    cell: Annotated[
        list[str] | None, typer.Option(help="lstm:UNITS, gru:UNITS or rnn:UNITS; repeat to stack.")
    ] = None,
    network: Annotated[
        Path | None, typer.Option(help="Train this .keras file instead of a new network.")
    ] = None,
    rows: Annotated[
        str, typer.Option(help="target: one network row for each; instrument: one for all.")
    ] = "target",
    head: Annotated[str, typer.Option(help="regression, quantiles or classes.")] = "regression",
    flat: Annotated[
        float,
        typer.Option(
            min=0, callback=options.finite, help="Class flat: changes of at most so many scales."
        ),
    ] = 0.25,
    probabilities: Annotated[
        str | None, typer.Option(help="Of --head quantiles: those to learn, such as 0.05,0.5,0.95.")
    ] = None,
    phases: Annotated[
        int, typer.Option(min=0, help="Sine and cosine pairs of the season as inputs.")
    ] = 0,
    embedding: Annotated[
        int, typer.Option(min=0, help="Numbers of a learnt vector per instrument as inputs.")
    ] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the ticks.")] = 50,
    patience: Annotated[
        int, typer.Option(min=1, help="End after so many epochs without a lower validation loss.")
    ] = 5,
    validation: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            callback=options.finite,
            help="Share of the ticks, the last ones, to validate on.",
        ),
    ] = 0.2,
    window: Annotated[int, typer.Option(min=1, help="Ticks that an update looks back.")] = 32,
    stride: Annotated[int, typer.Option(min=1, help="Ticks from one update to the next.")] = 8,
    rate: Annotated[
        float, typer.Option(min=0, callback=options.above_zero, help="Learning rate.")
    ] = 5e-4,
    lanes: Annotated[int, typer.Option(min=1, help="Most sequences to learn from at once.")] = 64,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**31 - 1, help="Same seed, ticks and options: same weights."),
    ] = 1,
    bundle_name: Annotated[
        str | None, typer.Option(help="Name of the bundle; that of the directory if none.")
    ] = None,
) -> None:
    """Train a network on recorded ticks, and write a bundle with it.

    Ctrl-C keeps a checkpoint; the same command goes on from there.

    Example: slotcast train --from prices.csv --out bundles/prices --cell gru:32
    """
    need_tensorflow("slotcast train")
    import logging

    from slotcast.feeds.sources import read_recorded
    from slotcast.settings import Settings
    from slotcast_models.bundle import MANIFEST, Bundle
    from slotcast_models.learner import LearningRule
    from slotcast_models.training import Recipe

    if (out / MANIFEST).exists():
        fail(f"{out} is a bundle already: give another --out, or delete it")
    chosen = bundle_name or re.sub(r"[^a-z0-9-]+", "-", out.resolve().name.lower()).strip("-")
    file_options = (instrument, name, time, time_unit, value, sequence)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with failing():
        kinds = [_one_of(v, w) for v, w in ((rows, ROWS), (head, HEADS))]
        shape = _head(kinds[1], probabilities, flat)
        plan = Plan(_cells(cell), network, kinds[0], shape, phases, embedding, seed)
        rule = LearningRule(window, stride, rate)
        recipe = Recipe(rule, shape, epochs, patience, validation, lanes)
        settings = Settings.load(config)
        rules = Bundle.load(settings.bundle.path).manifest.rules
        schema, recorded = read_recorded(source, settings, offsets, file_options, positive)
        built, bundle = _prepared(plan, chosen, rules, schema)
        sequences = _recorded(bundle, recorded)
        facts = recorded.facts(source)
        _train(out, plan, recipe, built, bundle, sequences, recorded.names, facts)


ROWS: tuple[Rows, ...] = ("target", "instrument")
HEADS = ("regression", "quantiles", "classes")


def _one_of(word: str, words: tuple[str, ...]) -> Any:
    if word not in words:
        raise ValueError(f"{word!r}: need one of {', '.join(words)}")
    return word


def _head(kind: Any, probabilities: str | None, flat: float) -> Head:
    from slotcast_models.heads import Head

    if probabilities is None:
        return Head(kind, flat=flat)
    if kind != "quantiles":
        raise ValueError(f"--probabilities belong to --head quantiles, not to --head {kind}")
    try:
        return Head(kind, tuple(float(p) for p in probabilities.split(",")), flat)
    except ValueError as error:
        raise ValueError(f"--probabilities {probabilities}: {error}") from error


def _cells(given: list[str] | None) -> tuple[tuple[str, int], ...]:
    found = []
    for text in given or ["lstm:32"]:
        match = CELL.fullmatch(text)
        if match is None:
            raise ValueError(f"--cell {text}: need lstm:UNITS, gru:UNITS or rnn:UNITS")
        found.append((match[1], int(match[2])))
    return tuple(found)


def _prepared(plan: Plan, name: str, rules: FoldRules, schema: TickSchema) -> tuple[Any, Bundle]:
    """The network before training, and the bundle to record with."""
    import keras

    from slotcast_models.bundle import network_sizes
    from slotcast_models.learner import one_thread
    from slotcast_models.network import build_network
    from slotcast_models.trained import spec_of, without_program

    one_thread()
    keras.utils.set_random_seed(plan.seed)
    if plan.network is not None:
        built = keras.models.load_model(plan.network, compile=False)
        _tell_idle(built)
    else:
        inputs, _ = network_sizes(schema, plan.rows, plan.phases, embedding=plan.embedding)
        targets = len(schema.targets) if plan.rows == "instrument" else 1
        built = build_network(plan.cells, inputs, targets, head=plan.head)
    spec = spec_of(built, plan.rows, plan.head, plan.phases, "untrained", plan.embedding)
    return built, without_program(name, spec, rules, schema)


def _tell_idle(network: Any) -> None:
    from slotcast_models.stepping import idle_in_training

    names = ", ".join(map(repr, idle_in_training(network)))
    if names:
        typer.secho(
            f"warning: training steps as serving does: dropout, noise and penalties of {names} are"
            " off. Use a smaller network or a lower --patience against overfitting",
            fg="yellow",
            err=True,
        )


def _recorded(bundle: Bundle, recorded: Recorded) -> list[Sequence]:
    from slotcast_models.recording import Recorder
    from slotcast_models.vectors import numbered

    numbers = numbered(recorded.names) if bundle.manifest.network.embedding else None
    recorder = Recorder(bundle, len(recorded.names), numbers)
    recorder.record(recorded.columns)
    sequences = recorder.sequences(recorded.names)
    typer.echo(f"recorded {recorded.ticks:,} ticks of {len(recorded.names):,} instruments")
    if recorded.rejects:
        told = ", ".join(f"{n:,} {reason}" for reason, n in sorted(recorded.rejects.items()))
        typer.echo(f"left out: {told}")
    return sequences


def _train(
    out: Path,
    plan: Plan,
    recipe: Any,
    built: Any,
    bundle: Bundle,
    sequences: list[Sequence],
    names: list[str],
    facts: dict[str, Any],
) -> None:
    import numpy as np

    from slotcast.training_run import CHECKPOINT, identity_of, run
    from slotcast_models.trained import report_of, save_trained, spec_of, summary_of
    from slotcast_models.training import Training

    shape = len(set(names)), plan.embedding
    vectors = np.zeros(shape, np.float32) if plan.embedding else None
    training: Training = Training(built, sequences, recipe, vectors)
    identity = identity_of(sequences, f"{plan} {recipe}")
    stop = options.until_interrupted()
    if not run(training, out, identity, stop.is_set):
        typer.echo(f"stopped: the same command goes on from {out / CHECKPOINT}")
        return
    report = report_of(training, facts | {"seed": plan.seed})
    how = f"{facts['ticks']:,} ticks from {facts['source']}, seed {plan.seed}; see training.txt"
    spec = spec_of(built, plan.rows, plan.head, plan.phases, how, plan.embedding)
    learnt = training.vectors(names)
    save_trained(out, bundle.manifest.name, built, spec, bundle, report, learnt)
    (out / CHECKPOINT).unlink(missing_ok=True)
    typer.echo(summary_of(report, spec), nl=False)
    typer.echo(f"wrote {out}")
