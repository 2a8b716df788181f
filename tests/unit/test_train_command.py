"""`slotcast train` makes a bundle that serving takes, from files and logs, and goes on when cut."""

from __future__ import annotations

import io
import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from slotcast.cli import app
from slotcast.log.sqlite.log import SqliteLog
from slotcast.records.controls import IMPORT, encode_control
from slotcast.records.forecasts import ForecastEncoder
from slotcast.run_settings import keep_schema
from slotcast_models.bundle import Bundle
from slotcast_models.columns import RESET
from slotcast_models.predictor import Predictor
from slotcast_models.schema import TickSchema
from tests.streams import columns, run

FAST = ["--cell", "gru:4", "--epochs", "2", "--window", "8", "--rate", "0.01"]

# Keras 3.15 turns tensors into arrays in a way that numpy 2 calls deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("_quiet_process"),
]


@pytest.fixture
def _quiet_process(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command sets threads and signals of its process; this one is the tests'."""
    monkeypatch.setattr("slotcast_models.learner.one_thread", lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


def sensor_file(path: Path, instruments: int = 3, ticks: int = 200) -> Path:
    """Two values that fall back to where they were, by instrument."""
    rng = np.random.default_rng(0)
    lines = ["sensor,ts,pressure,flow"]
    noise = rng.normal(size=(ticks, instruments, 2))
    for t in range(ticks):
        for i in range(instruments):
            pressure, flow = 100.0 + noise[t, i]
            lines.append(f"S{i},{t * 1000},{pressure:.6f},{flow:.6f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def train(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def same_files(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_trained_bundle_is_complete_and_served(tmp_path: Path) -> None:
    file = sensor_file(tmp_path / "sensors.csv")

    told = train("--from", file, "--out", tmp_path / "made", *FAST)

    bundle = Bundle.load(tmp_path / "made")
    report = json.loads((tmp_path / "made" / "training.json").read_text())
    assert set(bundle.manifest.files) == {
        "network.keras",
        "step.tflite",
        "training.json",
        "training.txt",
    }
    assert report["ticks"]["ticks"] == 600
    assert report["results"]["validation"]["skill"] > 0.1
    assert (tmp_path / "made" / "training.txt").read_text() in told.output
    schema = TickSchema(targets=("pressure", "flow"))
    stepper = Predictor(bundle.bind(schema))
    said = run(stepper, columns(100.0 + np.random.default_rng(1).normal(size=(200, 2))))
    assert (said.published.network[100:] != said.published.point[100:]).any()


def test_the_same_seed_gives_the_same_bundle_to_the_byte(tmp_path: Path) -> None:
    file = sensor_file(tmp_path / "sensors.csv")

    for name in ("one", "two", "other"):
        seed = 2 if name == "other" else 1
        options = ["--bundle-name", "made", "--seed", seed, *FAST]
        train("--from", file, "--out", tmp_path / name, *options)

    assert same_files(tmp_path / "one", tmp_path / "two")
    assert not same_files(tmp_path / "one", tmp_path / "other")


REAL = """
import sys
from slotcast.cli import app
app(sys.argv[1:], standalone_mode=False)
import tensorflow as tf
threads = tf.config.threading
print("threads", threads.get_intra_op_parallelism_threads(), end=" ")
print(threads.get_inter_op_parallelism_threads())
from tensorflow.python.framework import config
print("determined", config.is_op_determinism_enabled())
"""


def test_a_process_of_its_own_trains_on_one_thread_to_the_same_bytes(tmp_path: Path) -> None:
    """The other tests leave the threads of their process alone."""
    file = sensor_file(tmp_path / "sensors.csv")
    options = ["train", "--from", str(file), "--bundle-name", "made", *FAST]

    for name in ("one", "two"):
        command = [sys.executable, "-c", REAL, *options, "--out", str(tmp_path / name)]
        told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        assert told.stdout.splitlines()[-2:] == ["threads 1 1", "determined True"]

    assert same_files(tmp_path / "one", tmp_path / "two")


def test_the_bar_shows_the_loss_and_the_skill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slotcast import training_run
    from slotcast_models.training import Moment

    class Trains:
        def run(self) -> Iterator[Moment]:
            yield Moment(1, 1, 2, 0.7321, math.nan)
            yield Moment(2, 1, 2, 0.6123, 0.0456)

    screen = io.StringIO()
    console = partial(Console, file=screen, force_terminal=True, width=200)
    monkeypatch.setattr(training_run, "Console", lambda **_: console())
    done: Any = Trains()

    assert training_run.run(done, tmp_path, "any", lambda: False)

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "epoch 2" in shown
    assert "1 of 2 updates" in shown
    assert "loss 0.6123" in shown
    assert "skill +0.0456" in shown


def test_a_run_that_was_stopped_goes_on_to_the_same_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sensor_file(tmp_path / "sensors.csv")
    options = ["--from", file, "--bundle-name", "made", *FAST]
    train(*options, "--out", tmp_path / "whole")

    class Stop:
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 10

    with monkeypatch.context() as patch:
        patch.setattr("slotcast.commands.options.until_interrupted", Stop)
        stopped = train(*options, "--out", tmp_path / "cut")

    assert "the same command goes on" in stopped.output
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.npz"]
    refused = train(*options, "--seed", 2, "--out", tmp_path / "cut", code=1)
    assert "is of a run with other ticks or options" in refused.output
    train(*options, "--out", tmp_path / "cut")
    assert same_files(tmp_path / "whole", tmp_path / "cut")


def test_a_damaged_checkpoint_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "checkpoint.npz").write_bytes(b"PK\x03\x04 no")

    file = sensor_file(tmp_path / "sensors.csv")
    told = train("--from", file, "--out", tmp_path / "made", *FAST, code=1)

    assert "delete it to begin anew" in told.output


@pytest.mark.parametrize(
    ("head", "extras"),
    [("classes", ("down", "flat", "up")), ("quantiles", ("0.05", "0.25", "0.5", "0.75", "0.95"))],
)
def test_a_head_is_trained_and_published(tmp_path: Path, head: str, extras: Any) -> None:
    file = sensor_file(tmp_path / "sensors.csv")

    train("--from", file, "--out", tmp_path / "made", "--head", head, "--rows", "instrument", *FAST)

    bundle = Bundle.load(tmp_path / "made")
    assert bundle.manifest.network.extras == extras
    stepper = Predictor(bundle.bind(bundle.schema))
    value = 100.0 + np.random.default_rng(1).normal(size=(100, 2))
    told = run(stepper, columns(value))
    said = told.published.extra
    assert stepper.pending(told.rows[:1]).extra.tobytes() == said[-1:].tobytes()
    assert said.shape == (100, 2, len(extras))
    if head == "classes":
        np.testing.assert_allclose(said.sum(-1), 1.0, atol=1e-5)
    else:
        assert (np.diff(said, axis=-1) >= 0.0).all()
        assert np.abs(said[60:].mean((0, 1)) - 100.0).max() < 5.0
    report = json.loads((tmp_path / "made" / "training.json").read_text())
    wanted = "accuracy" if head == "classes" else "share_below_quantile"
    assert wanted in report["results"]["validation"]


def test_the_probabilities_of_quantiles_are_an_option(tmp_path: Path) -> None:
    file = sensor_file(tmp_path / "sensors.csv")
    options = ["--head", "quantiles", "--probabilities", "0.025, 0.5,0.9", "--rows", "instrument"]

    told = train("--from", file, "--out", tmp_path / "made", *options, *FAST)

    bundle = Bundle.load(tmp_path / "made")
    assert bundle.manifest.network.extras == ("0.025", "0.5", "0.9")
    assert "quantile 0.025:" in told.output
    value = 100.0 + np.random.default_rng(1).normal(size=(100, 2))
    said = run(Predictor(bundle.bind(bundle.schema)), columns(value)).published
    encoder = ForecastEncoder(bundle, "these")
    ticks = np.arange(100)
    *_, record = encoder.encode(0, ["S"] * 100, ticks, ticks, value, said)
    quantiles = json.loads(record)["targets"]["flow"]["quantiles"]
    assert list(quantiles) == ["0.025", "0.5", "0.9"]
    assert quantiles["0.025"] < quantiles["0.5"] < quantiles["0.9"]


def test_a_vector_per_instrument_is_trained_and_is_the_same_again(tmp_path: Path) -> None:
    file = sensor_file(tmp_path / "sensors.csv")

    for name in ("one", "two"):
        options = ["--bundle-name", "made", "--embedding", "3", *FAST]
        told = train("--from", file, "--out", tmp_path / name, *options)

    assert same_files(tmp_path / "one", tmp_path / "two")
    assert "one row per target, 3 numbers per instrument" in told.output
    bundle = Bundle.load(tmp_path / "one").bind(TickSchema(targets=("pressure", "flow")))
    assert bundle.vectors is not None
    assert list(bundle.vectors.instruments) == ["S0", "S1", "S2"]
    mean = np.mean(list(bundle.vectors.instruments.values()), axis=0)
    np.testing.assert_allclose(bundle.vectors.unknown, mean, rtol=1e-6)
    assert bundle.vectors.instruments["S0"] != bundle.vectors.instruments["S1"]
    ticks = columns(100.0 + np.random.default_rng(1).normal(size=(60, 2)))
    strangers = run(Predictor(bundle), ticks).published.network
    assert np.isfinite(strangers).all()
    config = tmp_path / "made.toml"
    config.write_text(
        f'[bundle]\npath = "{tmp_path / "one"}"\n[schema]\ntargets = ["pressure", "flow"]\n'
    )
    shown = CliRunner().invoke(app, ["bundle", "show", "--config", str(config), "--json"])
    assert json.loads(shown.output)["vectors"]["instruments"] == 3


def embedded_log(directory: Path, rows: int = 400) -> None:
    """A demo's directory with two partitions, resets among the ticks."""
    directory.mkdir()
    keep_schema(directory, TickSchema(targets=("level",)))
    log = SqliteLog(directory / "slotcast.db", partitions=2)
    rng = np.random.default_rng(0)
    for partition in range(2):
        name = f"P{partition}".encode()
        records = [
            json.dumps({"instrument": name.decode(), "ts": t * 1000, "level": v}).encode()
            for t, v in enumerate(rng.normal(size=rows).tolist())
        ]
        records[rows // 4] = b"no tick"
        log.feed(partition, [name] * rows, records, np.full(rows, -1))
        log.append(partition, name, None, None)
        log.feed(partition, [name] * rows, records, np.full(rows, -1))
    log.close()


def test_a_log_is_trained_from_with_its_resets(tmp_path: Path) -> None:
    embedded_log(tmp_path / "log")

    told = train("--from", tmp_path / "log", "--out", tmp_path / "made", *FAST)

    assert "recorded 1,596 ticks of 2 instruments" in told.output
    assert "4 not_json" in told.output
    report = json.loads((tmp_path / "made" / "training.json").read_text())
    assert report["ticks"]["rejects"] == {"not_json": 4}


def test_a_range_of_offsets_is_trained_from(tmp_path: Path) -> None:
    embedded_log(tmp_path / "log")

    options = ["--from", tmp_path / "log", "--offsets", "101-300", "--out", tmp_path / "made"]
    told = train(*options, *FAST)

    assert "recorded 400 ticks of 2 instruments" in told.output


@pytest.mark.parametrize("command", ["train", "backtest"])
def test_an_imported_memory_is_refused_with_the_way_round_it(tmp_path: Path, command: str) -> None:
    """In the service it is that instrument's memory; taken for a reset, it would be none."""
    embedded_log(tmp_path / "log", rows=60)
    log = SqliteLog(tmp_path / "log" / "slotcast.db", partitions=2)
    at = log.append(1, b"P1", b"a snapshot file", encode_control(IMPORT, "P1")).offset
    log.close()
    options = ["--skip", "9"] if command == "backtest" else ["--out", str(tmp_path / "made"), *FAST]

    def told(*more: str) -> Result:
        arguments = [command, "--from", str(tmp_path / "log"), *options, *more]
        return CliRunner().invoke(app, arguments)

    refused = told()

    assert refused.exit_code == 1
    assert f"record {at} of partition 1 imports memory of P1" in refused.output
    assert f"give --offsets up to {at - 1}, or from {at + 1} on" in refused.output
    assert told("--offsets", f"0-{at - 1}").exit_code == 0


def test_partitions_are_merged_by_time_and_keep_their_order(tmp_path: Path) -> None:
    from slotcast.bootstrap import history
    from slotcast.feeds.columns import gather, topic_batches
    from slotcast.settings import Settings

    embedded_log(tmp_path / "log", rows=50)

    opened = history(Settings.load(None), tmp_path / "log")
    recorded = gather(topic_batches(opened, None, 49), TickSchema(targets=("level",)))
    opened.close()

    assert recorded.names == ["P0", "P1"]
    assert recorded.columns.slot[:6].tolist() == [0, 1, 0, 1, 0, 1]
    assert (np.diff(recorded.columns.time_ns) >= 0).all()
    assert not (recorded.columns.kind == RESET).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "absent.csv"], "there is no file absent.csv"),
        (["--cell", "conv:3"], "--cell conv:3: need lstm:UNITS"),
        (["--rows", "both"], "'both': need one of target, instrument"),
        (["--head", "both"], "'both': need one of regression, quantiles, classes"),
        (["--probabilities", "0.5"], "belong to --head quantiles, not to --head regression"),
        (["--head", "quantiles", "--probabilities", "0.5,0.1"], "0.5,0.1: quantiles need prob"),
        (["--head", "quantiles", "--probabilities", "0,0.5"], "rise between 0 and 1"),
        (["--head", "quantiles", "--probabilities", "5%"], "--probabilities 5%: could not"),
        (["--stride", "99"], "stride 99, window 32"),
        (["--offsets", "1-2"], "--offsets is for topics"),
        (["--phases", "2"], "was trained with seasons: declare them in"),
        (["--validation", "1"], "validation 1.0: need a share from 0 to less than 1"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, options: list[str], message: str) -> None:
    file = sensor_file(tmp_path / "sensors.csv", ticks=20)

    told = train("--from", file, "--out", tmp_path / "made", *options, code=1)

    assert message in told.output


@pytest.mark.parametrize("option", ["epochs", "patience", "lanes", "window", "stride", "rate"])
def test_an_option_out_of_its_range_is_named(tmp_path: Path, option: str) -> None:
    value = "-1" if option == "rate" else "0"

    told = train("--from", "x.csv", "--out", tmp_path / "made", f"--{option}", value, code=2)

    assert f"--{option}" in told.output


def test_training_that_diverges_writes_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotcast.training_run.CHECKPOINT_SECONDS", -1.0)  # after every update
    file, made = sensor_file(tmp_path / "sensors.csv"), tmp_path / "made"

    told = train("--from", file, "--out", made, *FAST, "--rate", "1e30", code=1)

    assert "training has diverged" in told.output
    assert list(made.iterdir()) == [], "neither a bundle nor a checkpoint to diverge from again"


def test_a_bundle_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "manifest.json").write_text("{}")

    file = sensor_file(tmp_path / "sensors.csv", ticks=20)
    told = train("--from", file, "--out", tmp_path / "made", code=1)

    assert "is a bundle already" in told.output


def test_without_tensorflow_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    told = train("--from", "x.csv", "--out", tmp_path, code=1)

    assert "pip install 'slotcast[train]'" in told.output


def keras_file(path: Path, inputs: int, outputs: int, *layers: Any) -> Path:
    """A saved network that somebody else made."""
    import keras

    keras.utils.set_random_seed(2)
    made = keras.Sequential(
        [keras.Input((None, inputs)), *layers, keras.layers.Dense(outputs, name="mine")]
    )
    made.save(path)
    return path


def bundle_export(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["bundle", "export", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize(
    ("inputs", "outputs", "rows"), [(3, 1, "target"), (5, 2, "instrument"), (7, 2, "instrument")]
)
def test_a_network_of_one_s_own_becomes_a_bundle_that_forecasts(
    tmp_path: Path, inputs: int, outputs: int, rows: str
) -> None:
    import keras

    layers = keras.layers
    cells = [
        layers.LayerNormalization(),
        layers.LSTM(4, return_sequences=True),
        layers.Dropout(0.2),
        layers.GRU(3, return_sequences=True),
    ]
    file = keras_file(tmp_path / "my.keras", inputs, outputs, *cells)
    seasons = "seasons = [12]\n" if inputs == 7 else ""
    (tmp_path / "c.toml").write_text(f'[schema]\ntargets = ["a", "b"]\n{seasons}')

    options = ["--config", tmp_path / "c.toml", "--out", tmp_path / "mine"]
    told = bundle_export(file, *options)

    assert "lstm 4 -> gru 3" in told.output
    bundle = Bundle.load(tmp_path / "mine")
    assert bundle.manifest.network.rows == rows
    assert bundle.manifest.network.phases == (inputs == 7)
    own = bundle.manifest.tick_schema or TickSchema(targets=("a", "b"))
    said = run(Predictor(bundle.bind(own)), columns(np.random.default_rng(1).normal(size=(60, 2))))
    assert np.isfinite(said.published.point).all()


def test_a_network_of_one_s_own_can_be_trained_on(tmp_path: Path) -> None:
    import keras

    file = sensor_file(tmp_path / "sensors.csv")
    mine = keras_file(tmp_path / "my.keras", 3, 1, keras.layers.LSTM(4, return_sequences=True))

    told = train("--from", file, "--network", mine, "--out", tmp_path / "made", *FAST)

    assert "are off" not in told.output
    assert Bundle.load(tmp_path / "made").manifest.network.cells == (("lstm", 4),)
    assert "mine" in keras.models.load_model(tmp_path / "made" / "network.keras").layers[-1].name


def test_layers_that_are_off_in_training_are_named(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    some = [
        layers.Dropout(0.2, name="drop"),
        layers.TimeDistributed(layers.GaussianNoise(0.1), name="noise"),
        layers.LSTM(4, return_sequences=True, recurrent_dropout=0.1, name="inside"),
        layers.Dense(4, kernel_regularizer="l2", name="penalty"),
        layers.GRU(4, return_sequences=True, name="plain"),
    ]
    mine = keras_file(tmp_path / "my.keras", 3, 1, *some)
    file = sensor_file(tmp_path / "sensors.csv")

    told = train("--from", file, "--network", mine, "--out", tmp_path / "made", *FAST)

    assert "penalties of 'drop', 'noise', 'inside', 'penalty' are off" in told.output


@pytest.mark.parametrize(("rows", "phases"), [("target", 3), ("instrument", 0)])
def test_of_two_layouts_that_fit_an_option_decides(tmp_path: Path, rows: str, phases: int) -> None:
    """Two features: 9 inputs are change, deviation and pause with three phases, or of all three."""
    import keras

    file = keras_file(tmp_path / "my.keras", 9, 1, keras.layers.LSTM(4, return_sequences=True))
    schema = '[schema]\ntargets = ["a"]\nfeatures = ["b", "c"]\nseasons = [12]\n'
    (tmp_path / "c.toml").write_text(schema)
    options = [file, "--config", tmp_path / "c.toml", "--out", tmp_path / "mine"]

    told = bundle_export(*options, code=1)
    bundle_export(*options, "--rows", rows)

    assert "one row per target with 3 phases or one row per instrument with 0" in told.output
    assert "say which with --rows" in told.output
    network = Bundle.load(tmp_path / "mine").manifest.network
    assert (network.rows, network.phases) == (rows, phases)


def test_rows_that_are_neither_are_refused(tmp_path: Path) -> None:
    import keras

    file = keras_file(tmp_path / "my.keras", 3, 1, keras.layers.LSTM(4, return_sequences=True))

    other = bundle_export(file, "--rows", "both", "--out", tmp_path / "mine", code=1)

    assert "--rows both: need one of target, instrument" in other.output


def test_a_network_that_does_not_fit_the_fold_is_told_what_would(tmp_path: Path) -> None:
    import keras

    file = keras_file(tmp_path / "my.keras", 8, 1, keras.layers.LSTM(4, return_sequences=True))

    told = bundle_export(file, "--out", tmp_path / "mine", code=1)

    assert "takes 8 inputs and gives 1 outputs" in told.output
    assert "slotcast train --network" in told.output
    assert not (tmp_path / "mine").exists()


def test_a_network_that_cannot_be_stepped_is_told_why(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="around")
    file = keras_file(tmp_path / "my.keras", 3, 1, both)

    told = bundle_export(file, "--out", tmp_path / "mine", code=1)
    absent = bundle_export(tmp_path / "absent.keras", "--out", tmp_path / "mine", code=1)

    assert "'around' needs the whole sequence" in told.output
    assert "leave the forward layer" in told.output
    assert "save the network with network.save()" in absent.output
