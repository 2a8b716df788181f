"""An instrument's vector follows from its name and the bundle; it is in the row and stays there."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast.bundle_facts import facts
from slotcast.engine import Engine
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle, BundleError
from slotcast_models.columns import RESET, Columns
from slotcast_models.imports import import_row
from slotcast_models.memory import view
from slotcast_models.predictor import Predictor
from slotcast_models.vectors import Vectors, learnt_vectors, numbered
from tests.networks import save_with_vectors
from tests.streams import LEVEL, MIXED, columns, run, same_bits, scripted

VECTORS = Vectors(unknown=(0.5, -1.0), instruments={"A": (1.0, 0.1), "B": (0.0, -2.1)})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_with_vectors(tmp_path_factory.mktemp("made"), LEVEL, VECTORS)


def levels(n: int = 80) -> Columns:
    return columns(100.0 + np.random.default_rng(0).normal(size=n))


def said(stepper: Predictor, name: str | None, ticks: Columns) -> NDArray[np.float64]:
    """What the network alone says of an instrument of this name."""
    rows = np.concatenate([stepper.fresh_row(name), stepper.fresh_row()])
    return run(stepper, ticks, rows=rows).published.network


def test_the_network_sees_the_vector_of_the_name(bundle: Bundle) -> None:
    stepper = Predictor(bundle)

    a, b, stranger = (said(stepper, name, levels()) for name in ("A", "B", "C"))

    assert not np.array_equal(a[30:], b[30:])
    assert not np.array_equal(a[30:], stranger[30:])
    assert same_bits(stranger, said(stepper, None, levels()))


def test_the_vectors_are_the_last_inputs_of_every_network_row(tmp_path: Path) -> None:
    stepper = Predictor(save_with_vectors(tmp_path, MIXED, VECTORS))

    memory = view(run(stepper, scripted(30, 1), rows=stepper.allocate(2, ["A"])[0]).rows)

    turn = (memory.counts[0, 2] - 1) % memory.inputs.shape[1]
    inputs = memory.inputs[0, turn].reshape(2, -1)  # one network row for each target
    np.testing.assert_array_equal(inputs[:, -2:], np.float32([[1.0, 0.1], [1.0, 0.1]]))


def test_a_reset_keeps_the_vector_and_forgets_the_rest(bundle: Bundle) -> None:
    stepper, ticks = Predictor(bundle), levels()
    ticks.kind[40] = RESET

    told = said(stepper, "A", ticks)

    later = Columns(*(column[41:] for column in ticks))
    assert same_bits(told[41:], said(stepper, "A", later))


def test_an_import_brings_memory_and_leaves_the_vector_of_the_name(bundle: Bundle) -> None:
    stepper = Predictor(bundle)
    rows, memory = stepper.allocate(2, ["A", "B"])
    row = run(stepper, levels(), rows=stepper.allocate(2, ["A"])[0]).rows[:1]

    import_row(rows, 1, row, 7, b"")

    assert memory.vector.tolist() == [*stepper.allocate(2, ["A", "B"])[1].vector.tolist()]
    assert same_bits(memory.net[1], view(row).net[0])


def test_the_engine_looks_a_vector_up_for_fresh_rows_only(bundle: Bundle) -> None:
    engine = Engine(Predictor(bundle), 4, 4)

    known, stranger = engine.admit(0, "A"), engine.admit(0, "C")
    kept = engine.rows[known : known + 1].copy()
    kept["vector"] = 9.0
    back = engine.admit(0, "B", kept)

    assert engine.memory.vector[known].tolist() == np.float32([1.0, 0.1]).tolist()
    assert engine.memory.vector[stranger].tolist() == [0.5, -1.0]
    assert engine.memory.vector[back].tolist() == [9.0, 9.0]


def test_the_vector_does_not_show_in_the_batch(bundle: Bundle) -> None:
    stepper, names = Predictor(bundle), ["A", "B", "C"]
    value = 100.0 + np.random.default_rng(0).normal(size=240)
    together = columns(value, slot=np.arange(240) % 3)
    whole = prequential(stepper, together, 3, names=names)

    for slot, name in enumerate(names):
        own = together.slot == slot
        alone = Columns(*(column[own] for column in together))
        alone.slot[:] = 0
        again = prequential(stepper, alone, 1, names=[name])
        assert same_bits(again.network, whole.network[own])


def test_a_free_run_knows_the_instrument(bundle: Bundle) -> None:
    stepper = Predictor(bundle)
    rows = run(stepper, levels(), rows=stepper.allocate(2, ["A"])[0]).rows

    points, _, _ = stepper.free_run(rows[:1], 3)
    other = rows[:1].copy()
    other["vector"] = -3.0
    stage = view(rows).target[0, 0]

    assert stage[0] == points[0, 0]  # the first step is the pending forecast
    assert not same_bits(stepper.free_run(other, 3)[0][1:], points[1:])


def test_the_fingerprint_knows_the_vectors(bundle: Bundle, tmp_path: Path) -> None:
    moved = VECTORS.model_copy(update={"unknown": (0.5, -1.1)})

    assert save_with_vectors(tmp_path, LEVEL, moved).fingerprint != bundle.fingerprint


def test_vectors_of_another_length_are_refused(tmp_path: Path) -> None:
    mixed = Vectors(unknown=(0.0, 1.0), instruments={"A": (1.0,)})
    save_with_vectors(tmp_path / "made", LEVEL, VECTORS)
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    (tmp_path / "made" / "vectors.json").write_text(mixed.model_dump_json())

    from slotcast_models.bundle import Manifest, save_bundle

    contents = {
        name: (tmp_path / "made" / name).read_bytes() for name in ("step.tflite", "vectors.json")
    }
    save_bundle(tmp_path / "made", Manifest.model_validate(manifest), contents)

    with pytest.raises(BundleError, match="do not all have 2 numbers"):
        Bundle.load(tmp_path / "made")
    del contents["vectors.json"]
    save_bundle(tmp_path / "made", Manifest.model_validate(manifest), contents)
    with pytest.raises(BundleError, match=r"no vectors\.json to read: train it again"):
        Bundle.load(tmp_path / "made")


def test_bundle_show_tells_what_a_stranger_gets(bundle: Bundle) -> None:
    told = facts(bundle)["vectors"]

    assert told == {"numbers": 2, "instruments": 2, "any_other": "their mean: 0.5 -1"}
    assert facts(Bundle.load().bind(LEVEL))["vectors"].startswith("none")


def test_names_that_come_twice_share_a_number() -> None:
    assert numbered(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_only_what_was_learnt_has_a_vector_and_strangers_get_the_mean() -> None:
    table = np.float32([[1.0, 2.0], [7.0, 7.0], [3.0, -2.0]])

    vectors = learnt_vectors(table, ["b", "a", "b", "c"], [0, 2])

    assert vectors.instruments == {"b": (1.0, 2.0), "c": (3.0, -2.0)}
    assert vectors.unknown == (2.0, 0.0)


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    """Imported late, it takes seconds."""
    import keras

    return keras


def trained(keras: Any, numbers: int) -> Any:
    """Trained on momentum and bounce: changes that go on, and changes that turn back."""
    from slotcast_models.bundle import network_sizes
    from slotcast_models.learner import LearningRule
    from slotcast_models.network import build_network
    from slotcast_models.recording import Recorder
    from slotcast_models.trained import spec_of, without_program
    from slotcast_models.training import Recipe, Training

    keras.utils.set_random_seed(1)
    rng, n = np.random.default_rng(0), 500
    change = rng.normal(size=(n, 2))
    for t in range(1, n):
        change[t] += np.array([0.7, -0.7]) * change[t - 1]
    network = build_network((("rnn", 4),), network_sizes(LEVEL, "target", embedding=numbers)[0], 1)
    head = Recipe().head
    spec = spec_of(network, "target", head, 0, "untrained", numbers)
    blueprint = without_program("made", spec, Bundle.load().manifest.rules, LEVEL)
    recorder = Recorder(blueprint, 2, numbered(["up", "down"]) if numbers else None)
    recorder.record(columns(change.cumsum(axis=0).reshape(-1), slot=np.arange(2 * n) % 2))
    recipe = Recipe(LearningRule(8, 8, rate=0.01), epochs=12, patience=12, validation=0.3)
    vectors = np.zeros((2, numbers), np.float32) if numbers else None
    training = Training(network, recorder.sequences(["up", "down"]), recipe, vectors)
    for _ in training.run():
        pass
    return training


def test_opposite_instruments_are_told_apart_by_their_vectors(keras: Any) -> None:
    plain, told = trained(keras, 0), trained(keras, 2)

    with_vectors = max(skill for _, _, skill in told.history)
    without = max(skill for _, _, skill in plain.history)
    assert with_vectors > without + 0.1
    assert with_vectors > 0.35  # knowing the process, 1 - (1 - 0.49) = 0.49
    vectors = told.vectors(["up", "down"])
    assert set(vectors.instruments) == {"up", "down"}
    assert vectors.numbers == 2
    assert plain.vectors(["up", "down"]) is None
