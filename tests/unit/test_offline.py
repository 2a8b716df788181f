"""What the well-known question asks of Keras, row by row, where no service is needed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slotcast_models import scores
from slotcast_models.backtest import prequential
from slotcast_models.columns import Columns
from slotcast_models.schema import TickSchema
from slotcast_models.step import StepProgram
from slotcast_models.windows import windows
from tests.networks import stepped
from tests.streams import LEVEL, columns, predictor
from tests.unit.test_recording import bundle, recorded

PERIOD = 100

# Keras 3.15 turns tensors into arrays in a way that numpy 2 calls deprecated.
fitting = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    """Imported late, it takes seconds."""
    import keras

    return keras


def pattern(periods: int) -> Columns:
    """One of two values by turns that repeat every 100 ticks, and nowhere sooner."""
    once = np.random.default_rng(3).choice([-1.0, 1.0], PERIOD)
    return columns(np.tile(once, periods))


def test_a_period_far_beyond_the_window_is_learnt_one_step_at_a_time(keras: Any) -> None:
    from slotcast_models.learner import LearningRule
    from slotcast_models.network import build_network
    from slotcast_models.training import Recipe, Training

    keras.utils.set_random_seed(1)
    sequences = recorded(bundle(LEVEL, "target"), pattern(16), 1)
    recipe = Recipe(rule=LearningRule(rate=0.01), epochs=5, patience=5)
    training = Training(build_network((("lstm", 24),), 3, 1), sequences, recipe)

    for _ in training.run():
        pass

    skill = max(past[2] for past in training.history)
    assert skill > 0.9  # an error under a tenth of that of persistence


def test_no_model_with_a_window_of_three_steps_learns_that_period() -> None:
    value = pattern(20).value
    seen = windows({"s": {"v": value[:, 0]}}, 3)
    places: dict[bytes, list[float]] = {}
    for x, y in zip(seen.x, seen.y, strict=True):
        places.setdefault(x.tobytes(), []).append(float(y[0]))

    # Nothing can do better than the mean of what followed equal windows.
    best = sum(float(np.var(ys)) * len(ys) for ys in places.values()) / len(seen.y)

    persistence = float(((seen.y[:, 0] - seen.x[:, -1, 0]) ** 2).mean())
    assert best > 0.4 * persistence


def test_eight_market_features_have_names_and_the_last_of_them_is_learnt_from() -> None:
    names = ("open", "high", "low", "volume", "bid", "ask", "spread", "flow")
    close = TickSchema(targets=("close",), kind="sensor")  # type: ignore[arg-type]
    market = TickSchema(targets=("close",), features=names, kind="sensor")  # type: ignore[arg-type]
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(1_500, 8)).cumsum(axis=0)
    value = np.concatenate([[0.0], inputs[:-1, 7]]) + 0.1 * rng.normal(size=1_500)
    inputs[:, :7][rng.random((1_500, 7)) < 0.1] = np.nan  # a feature may be missing

    skill = []
    for schema, ticks in ((market, np.column_stack([value, inputs])), (close, value[:, None])):
        told = prequential(predictor(schema), columns(ticks), 1)
        kept = slice(500, None)
        error, naive = ((told.value - f)[kept] for f in (told.point, told.naive))
        skill.append(scores.skill(error, naive))

    assert skill[0] > 0.9
    assert skill[1] < 0.1


@fitting
def test_one_to_many_by_a_repeated_vector_is_learnt_offline_and_not_served(keras: Any) -> None:
    from slotcast_models.export import export_step
    from slotcast_models.offline import build_decoder

    keras.utils.set_random_seed(1)
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, 512)[:, None]
    wave = np.sin(phase + 0.4 * np.arange(12))[..., None].astype(np.float32)
    network = build_decoder(1, 4, 1, units=16)
    network.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    network.fit(wave[:, :8], wave[:, 8:], epochs=15, batch_size=64, verbose=0)

    written = network(wave[:64, :8], training=False).numpy()

    assert written.shape == (64, 4, 1)
    assert ((written - wave[:64, 8:]) ** 2).mean() < 0.1 * wave.var()
    with pytest.raises(ValueError, match=r"'repeat'.*forecast several steps by a free run"):
        export_step(network)


def test_sequences_of_any_length_share_one_trace(keras: Any) -> None:
    import tensorflow as tf

    from slotcast_models.network import build_network

    network = build_network((("lstm", 4),), 2, 1, zero_head=False)
    traces = []

    def outputs(x: Any) -> Any:
        traces.append(x.shape)
        return network(x, training=False)

    traced = tf.function(outputs, input_signature=[tf.TensorSpec((None, None, 2), tf.float32)])
    x = np.random.default_rng(0).normal(size=(3, 40, 2)).astype(np.float32)
    found = [traced(x[:batch, :length]).numpy() for batch, length in ((3, 40), (1, 1), (2, 17))]

    assert len(traces) == 1
    np.testing.assert_allclose(found[2], found[0][:2, :17], rtol=0, atol=1e-6)


@fitting
def test_a_stack_of_gru_512_and_128_with_softmax_trains_and_is_exported(keras: Any) -> None:
    from slotcast_models.export import export_step
    from slotcast_models.offline import build_classifier

    keras.utils.set_random_seed(1)
    symbols = np.tile(np.arange(5), 40)[None, :].repeat(4, 0)
    x, y = np.eye(5, dtype=np.float32)[symbols[:, :-1]], symbols[:, 1:]
    network = build_classifier(5, 5)
    network.compile(
        keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", jit_compile=False
    )
    losses = network.fit(x[:, :30], y[:, :30], epochs=25, verbose=0).history["loss"]

    program = StepProgram(export_step(network))

    found, _ = stepped(program, np.ascontiguousarray(x[:2, :12]))
    assert network.count_params() > 1_000_000
    assert program.width == 512 + 128
    assert losses[-1] < 0.3 * losses[0]
    assert (found[:, 4:].argmax(-1) == y[:2, 4:12]).all()
    wanted = network(x[:2, :12], training=False).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@fitting
def test_an_autoencoder_tells_which_instrument_behaves_unusually(keras: Any) -> None:
    from slotcast_models.offline import Autoencoder

    rng = np.random.default_rng(0)
    time = np.arange(160)

    def well(i: int) -> dict[str, Any]:
        noise = rng.normal(size=(2, 160)) * 0.1
        return {
            "pressure": 50.0 + 5.0 * np.sin(time / 5.0 + i) + noise[0],
            "heat": 90.0 + 2.0 * np.cos(time / 5.0 + i) + noise[1],
        }

    usual = windows({f"W{i}": well(i) for i in range(4)}, 12)
    later = {f"W{i}": well(i) for i in range(4)}
    later["W2"]["heat"][120:] += 4.0 * np.sign(np.sin(time[120:]))

    scores = Autoencoder(usual, epochs=12).scores(windows(later, 12))

    worst = {name: float(score.max()) for name, score in scores.items()}
    assert max(worst, key=worst.__getitem__) == "W2"
    assert worst["W2"] > 3.0 * max(score for name, score in worst.items() if name != "W2")
    assert scores["W2"].argmax() + 12 >= 120
    assert scores["W2"][:100].max() < 0.5 * worst["W2"]
