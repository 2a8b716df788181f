"""Learning is a pure function, sees what serving sees, and steps what the step program steps."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slotcast_models.heads import Head
from slotcast_models.step import StepProgram
from tests.networks import stepped

INPUTS, TARGETS, LANES = 3, 2, 2


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    """Imported late, it takes seconds."""
    import keras

    return keras


def learner(keras: Any, head: Head | None = None, rate: float = 0.01) -> Any:
    """One for many tests: it is pure, and its compilation takes seconds."""
    return _learner(keras, head, rate)


@lru_cache
def _learner(keras: Any, head: Head | None, rate: float) -> Any:
    from slotcast_models.learner import Learner, LearningRule
    from slotcast_models.network import build_network

    keras.utils.set_random_seed(3)
    built = build_network((("gru", 6), ("lstm", 4)), INPUTS, TARGETS, head=head)
    return Learner(built, LANES, LearningRule(8, 4, rate), head)


def window(seed: int = 0, steps: int = 8) -> Any:
    from slotcast_models.learner import Window

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(LANES, steps, INPUTS)).astype(np.float32)
    label = (x[:, :, :TARGETS] * 2.0).astype(np.float32)
    return Window(x, label, np.zeros((LANES, steps), np.float32))


def bits(values: Any) -> list[bytes]:
    return [tensor.numpy().tobytes() for part in values for tensor in part]


def test_learning_leaves_its_arguments_alone_and_repeats_itself(keras: Any) -> None:
    of = learner(keras)
    start, rows = of.start(), of.fresh_rows()
    before = bits(start)

    once, rows_once, loss = of.learn(start, window(), rows)
    again, rows_again, _ = of.learn(start, window(), rows)

    assert bits(once) == bits(again) != before
    assert bits(start) == before
    assert rows_once.numpy().tobytes() == rows_again.numpy().tobytes()
    assert not rows.any()
    assert float(loss) > 0.0


def test_the_loss_falls(keras: Any) -> None:
    of = learner(keras)
    values, rows, losses = of.start(), of.fresh_rows(), []
    for turn in range(250):
        values, rows, loss = of.learn(values, window(turn), rows)
        losses.append(float(loss))

    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])


def test_rows_are_carried_by_the_stride(keras: Any) -> None:
    of = learner(keras)
    given = window()
    rows = np.random.default_rng(1).normal(size=(LANES, of.stepped.width)).astype(np.float32)

    _, carried, _ = of.learn(of.start(), given, rows)

    wanted = rows
    for t in range(4):
        _, wanted = of.step(of.start().weights, given.x[:, t], wanted)
    np.testing.assert_allclose(carried.numpy(), wanted, rtol=0, atol=1e-6)


def test_a_sequence_that_begins_in_a_window_begins_from_a_fresh_row(keras: Any) -> None:
    of = learner(keras)
    given = window()
    given.start[1, 3] = 1.0
    later = given.x[:, 3:].copy()

    whole = of.outputs(of.start(), given.x, given.start)

    alone = of.outputs(of.start(), later, np.zeros(later.shape[:2], np.float32))
    np.testing.assert_allclose(whole[1, 3:], alone[1], rtol=0, atol=1e-6)


def test_ticks_without_a_label_teach_nothing(keras: Any) -> None:
    of = learner(keras)
    values, rows = of.start(), of.fresh_rows()
    values, rows, _ = of.learn(values, window(), rows)  # momentum alone would move the weights
    empty = window(2)
    empty.label[...] = np.nan

    same, _, loss = of.learn(values, empty, rows)

    assert bits(same) == bits(values)
    assert float(loss) == 0.0


def test_an_update_is_that_of_keras_adam_with_clipped_norms(keras: Any) -> None:
    import tensorflow as tf

    of = learner(keras)
    values, rows = of.start(), of.fresh_rows()
    variables = of.stepped.model.trainable_variables
    kept = [v.numpy() for v in variables]
    adam = keras.optimizers.Adam(0.01, clipnorm=1.0)
    for turn in range(3):
        given, state = window(turn), rows
        with tf.GradientTape() as tape:
            ys = []
            for t in range(8):
                y, state = of.stepped.advance(given.x[:, t], state)
                ys.append(y)
            loss = of.head.loss(tf.stack(ys, 1), given.label)
        adam.apply_gradients(
            zip(tape.gradient(loss, [v.value for v in variables]), variables, strict=True)
        )
        values, _, _ = of.learn(values, given, rows)

    for weight, variable in zip(values.weights, variables, strict=True):
        np.testing.assert_allclose(weight, variable.numpy(), rtol=0, atol=2e-5)
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)


def test_what_is_trained_is_what_is_stepped(keras: Any) -> None:
    from slotcast_models.export import export_step

    of = learner(keras)
    values, rows = of.start(), of.fresh_rows()
    for turn in range(5):
        values, rows, _ = of.learn(values, window(turn), rows)
    given = window(9, steps=300)
    evaluated = of.outputs(values, given.x, given.start)

    untrained = of.start()
    of.assign(values)
    found, _ = stepped(StepProgram(export_step(of.network)), given.x)
    of.assign(untrained)

    np.testing.assert_allclose(found, evaluated, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["quantiles", "classes"])
def test_a_head_learns_what_stands_beside_the_change(keras: Any, kind: Any) -> None:
    head = Head(kind)
    of = learner(keras, head, rate=0.03)
    values, rows = of.start(), of.fresh_rows()
    for turn in range(150):
        values, rows, _ = of.learn(values, window(turn), rows)
    given = window(999)

    said = of.outputs(values, given.x, given.start).reshape(LANES, 8, TARGETS, head.outputs)

    change, extras = said[..., 0], said[..., 1:]
    assert np.corrcoef(change.ravel(), given.label.ravel())[0, 1] > 0.9
    if kind == "classes":
        np.testing.assert_allclose(extras.sum(-1), 1.0, atol=1e-5)
        went = np.digitize(given.label, [-head.flat, head.flat])
        assert (extras.argmax(-1) == went).mean() > 0.7
    else:
        assert (np.diff(extras.mean((0, 1, 2))) > 0.0).all()


def test_a_stride_beyond_the_window_is_refused() -> None:
    from slotcast_models.learner import LearningRule

    with pytest.raises(ValueError, match="stride 9, window 8"):
        LearningRule(window=8, stride=9)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_teaches_nothing_is_refused(rate: float) -> None:
    from slotcast_models.learner import LearningRule

    with pytest.raises(ValueError, match=r"rate .*: need a number above 0"):
        LearningRule(rate=rate)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_layer_that_normalises_over_instruments_cannot_be_trained(
    keras: Any, wrapped: bool
) -> None:
    from slotcast_models.learner import Learner

    layers = keras.layers
    norm = layers.BatchNormalization(name="norm")
    built = keras.Sequential(
        [
            keras.Input((None, INPUTS)),
            layers.LSTM(4, return_sequences=True),
            layers.TimeDistributed(norm, name="norm") if wrapped else norm,
        ]
    )

    with pytest.raises(ValueError, match=r"'norm'.*use LayerNormalization"):
        Learner(built, LANES)
