"""A step program is its Keras network, one tick at a time; what cannot be one is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slotcast_models.bundle import DEFAULT, NETWORK, Bundle
from slotcast_models.predictor import Predictor
from slotcast_models.schema import TickSchema
from slotcast_models.step import StepProgram
from tests.networks import Cells, Floats, network, program, program_bytes, stepped
from tests.streams import columns, run

FEATURES, SLOTS = 3, 4

Build = Callable[[Any], Any]
"""From keras to a network."""

# Keras 3.15 turns tensors into arrays in a way that numpy 2 calls deprecated.
saving = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    """Imported late, it takes seconds."""
    import keras

    keras.utils.set_random_seed(11)
    return keras


def ticks(steps: int, features: int = FEATURES) -> Floats:
    rng = np.random.default_rng(steps)
    return rng.normal(size=(SLOTS, steps, features)).astype(np.float32)


def in_sequence(of: Sequence[Any]) -> Build:
    """A sequential network of the layers that `of` makes, from (kind, arguments)."""

    def build(keras: Any) -> Any:
        layers = [getattr(keras.layers, name)(*given, **named) for name, given, named in of]
        return keras.Sequential([keras.Input((None, FEATURES)), *layers])

    return build


def layer(kind: str, /, *given: Any, **named: Any) -> tuple[str, Any, Any]:
    return kind, given, named


def recurrent(kind: str, units: int, /, **named: Any) -> tuple[str, Any, Any]:
    return layer(kind, units, return_sequences=True, **named)


def residual(keras: Any) -> Any:
    """A functional network in which the input goes around the cells."""
    inputs = keras.Input((None, FEATURES))
    hidden = keras.layers.GRU(FEATURES, return_sequences=True)(inputs)
    hidden = keras.layers.Add()([hidden, inputs])
    hidden = keras.layers.LSTM(5, return_sequences=True)(hidden)
    seen = keras.layers.Concatenate()([hidden, inputs])
    return keras.Model(inputs, keras.layers.Dense(2)(seen) * 0.5)


STEPPABLE: dict[str, Build] = {
    "lstm": in_sequence([recurrent("LSTM", 8), layer("Dense", 2)]),
    "gru": in_sequence([recurrent("GRU", 8), layer("Dense", 2)]),
    "gru, reset before": in_sequence([recurrent("GRU", 8, reset_after=False), layer("Dense", 2)]),
    "rnn": in_sequence([recurrent("SimpleRNN", 8), layer("Dense", 2)]),
    "nothing but cells": in_sequence([recurrent("LSTM", 4)]),
    "two layers": in_sequence([recurrent("LSTM", 8), recurrent("LSTM", 6), layer("Dense", 2)]),
    "two kinds": in_sequence([recurrent("GRU", 8), recurrent("SimpleRNN", 6), layer("Dense", 2)]),
    "all between": in_sequence(
        [
            layer("Dense", 7, activation="relu"),
            layer("LayerNormalization"),
            recurrent("LSTM", 8, dropout=0.2, recurrent_dropout=0.2),
            layer("Dropout", 0.3),
            layer("BatchNormalization"),
            layer("Activation", "tanh"),
            recurrent("GRU", 5),
            layer("LayerNormalization"),
            layer("Dense", 2, activation="softmax"),
        ]
    ),
    "functional": residual,
}


def disturb(network: Any) -> None:
    """Weights that start at zero or one (biases, moments) say nothing: move them."""
    rng = np.random.default_rng(1)
    for weight in network.weights:
        weight.assign(weight + rng.uniform(0.05, 0.2, weight.shape).astype(np.float32))


def stateful_twin(keras: Any, network: Any) -> Any:
    """The same network and weights, `stateful=True` with a fixed batch."""

    def clone(layer: Any) -> Any:
        changes = {"stateful": True} if hasattr(layer, "stateful") else {}
        return type(layer).from_config(layer.get_config() | changes)

    inputs = keras.Input(batch_shape=(SLOTS, None, FEATURES))
    twin = keras.models.clone_model(network, input_tensors=inputs, clone_function=clone)
    for weight, source in zip(twin.weights, network.weights, strict=True):
        weight.assign(source)
    return twin


@pytest.mark.parametrize("name", STEPPABLE)
def test_steps_equal_a_stateful_network_in_chunks_of_any_length(keras: Any, name: str) -> None:
    from slotcast_models.export import export_step

    built = STEPPABLE[name](keras)
    disturb(built)
    x, twin = ticks(5), stateful_twin(keras, built)
    found, _ = stepped(StepProgram(export_step(built)), x)

    for chunks in ([5], [2, 3], [4, 1], [1, 1, 1, 1, 1]):
        for cells in twin.layers:
            if getattr(cells, "stateful", False):
                cells.reset_state()
        parts = np.split(x, np.cumsum(chunks)[:-1], axis=1)
        wanted = np.concatenate([twin(part, training=False).numpy() for part in parts], axis=1)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5, err_msg=str(chunks))


@pytest.mark.parametrize("cells", [(("lstm", 64), ("lstm", 64)), (("gru", 128),)])
def test_long_sequences_stay_equal(keras: Any, cells: Cells) -> None:
    x = ticks(200)

    found, _ = stepped(program(cells), x)

    np.testing.assert_allclose(found, network(cells)(x).numpy(), rtol=0, atol=1e-5)


def test_chunks_of_steps_give_the_same_bits() -> None:
    step, x = program((("gru", 32),)), ticks(5)
    whole, last = stepped(step, x)

    first, carried = stepped(step, x[:, :2])
    second, end = stepped(step, x[:, 2:], carried)

    assert np.concatenate([first, second], axis=1).tobytes() == whole.tobytes()
    assert end.tobytes() == last.tobytes()


def test_a_layer_may_be_distributed_over_time(keras: Any) -> None:
    from slotcast_models.export import export_step

    layers, x = keras.layers, ticks(6)
    inside = layers.TimeDistributed(layers.Dense(4, activation="tanh"))
    ends = layers.TimeDistributed(layers.Dense(2))
    cells = layers.GRU(5, return_sequences=True)
    built = keras.Sequential([keras.Input((None, FEATURES)), inside, cells, ends])

    found, _ = stepped(StepProgram(export_step(built)), x)

    np.testing.assert_allclose(found, built(x).numpy(), rtol=0, atol=1e-5)


def test_many_to_one_gives_at_every_tick_what_the_sequence_so_far_gives(keras: Any) -> None:
    from slotcast_models.export import export_step

    built = in_sequence([layer("LSTM", 6), layer("Dense", 2)])(keras)
    x = ticks(6)

    found, _ = stepped(StepProgram(export_step(built)), x)

    for length in (1, 4, 6):
        wanted = built(x[:, :length]).numpy()
        np.testing.assert_allclose(found[:, length - 1], wanted, rtol=0, atol=1e-5)


def test_a_stateful_network_with_one_step_and_fixed_slots_is_exported(keras: Any) -> None:
    from slotcast_models.export import export_step

    cells = keras.layers.LSTM(8, stateful=True, return_sequences=True)
    shape = keras.Input(batch_shape=(SLOTS, 1, FEATURES))
    built = keras.Sequential([shape, cells, keras.layers.Dense(2)])
    x = ticks(5)
    step = StepProgram(export_step(built))

    found, _ = stepped(step, x)

    wanted = np.concatenate([built(x[:, t : t + 1]).numpy() for t in range(5)], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert len(stepped(step, np.tile(x, (3, 1, 1)))[0]) == 3 * SLOTS


def test_the_row_is_what_all_layers_carry() -> None:
    assert program((("lstm", 8), ("gru", 5))).width == 2 * 8 + 5
    assert program((("lstm", 8), ("gru", 5))).features == FEATURES
    assert program((("rnn", 8),), FEATURES, 2).outputs == 2


def test_a_zero_head_forecasts_exactly_nothing() -> None:
    from slotcast_models.export import export_step
    from slotcast_models.network import build_network

    built = build_network((("lstm", 8), ("gru", 4)), FEATURES, 2)

    outputs, row = stepped(StepProgram(export_step(built)), 5.0 * ticks(20))

    assert not outputs.any()
    assert row.all()


@pytest.mark.parametrize("cells", [(), (("lstm", 8), ("conv", 3))])
def test_unknown_cells_are_refused(cells: Cells) -> None:
    from slotcast_models.network import build_network

    with pytest.raises(ValueError, match="need one or more of lstm, gru, rnn"):
        build_network(cells, FEATURES, 1)


def bidirectional(keras: Any) -> Any:
    around = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="around")
    return keras.Sequential([keras.Input((None, FEATURES)), around])


def used_twice(keras: Any) -> Any:
    inputs, cells = keras.Input((None, FEATURES)), keras.layers.GRU(FEATURES, return_sequences=True)
    return keras.Model(inputs, cells(cells(inputs)))


def looks_back(keras: Any) -> Any:
    inputs = keras.Input((None, FEATURES))
    hidden = keras.layers.GRU(4, return_sequences=True)(inputs)
    return keras.Model(inputs, keras.ops.cumsum(hidden, axis=1))


def attentive(keras: Any) -> Any:
    inputs = keras.Input((None, FEATURES))
    hidden = keras.layers.GRU(4, return_sequences=True)(inputs)
    return keras.Model(inputs, keras.layers.Attention(name="attends")([hidden, hidden]))


def two_inputs(keras: Any) -> Any:
    both = [keras.Input((None, 2)), keras.Input((None, 2))]
    return keras.Model(both, keras.layers.LSTM(4)(keras.layers.Add()(both)))


def nested(keras: Any) -> Any:
    inner = in_sequence([recurrent("LSTM", 4)])(keras)
    inner.name = "inner"
    return keras.Sequential([keras.Input((None, FEATURES)), inner, keras.layers.Dense(1)])


def cells_in_one_layer(keras: Any) -> Any:
    cells = [keras.layers.LSTMCell(4), keras.layers.LSTMCell(4)]
    stack = keras.layers.RNN(cells, return_sequences=True, name="stack")
    return keras.Sequential([keras.Input((None, FEATURES)), stack])


def cells_of_one_s_own(keras: Any) -> Any:
    class Mine(keras.layers.Layer):  # type: ignore[misc,name-defined]
        units = state_size = output_size = 4

        def call(self, x: Any, carried: Any, training: Any = None) -> Any:
            return carried[0], carried

    cells = keras.layers.RNN(Mine(), return_sequences=True, name="mine")
    return keras.Sequential([keras.Input((None, FEATURES)), cells])


NOT_STEPPABLE: dict[str, tuple[Build, str]] = {
    "cells of one's own": (cells_of_one_s_own, "'mine' has cells of its own kind .Mine."),
    "a decoder": (
        in_sequence([layer("LSTM", 4), layer("RepeatVector", 3, name="again")]),
        "'again' needs the whole sequence.*by a free run",
    ),
    "bidirectional": (bidirectional, "'around' needs the whole sequence.*leave the forward layer"),
    "backwards": (
        in_sequence([recurrent("LSTM", 4, go_backwards=True, name="back")]),
        "'back' needs the whole sequence.*set go_backwards=False",
    ),
    "convolution": (
        in_sequence([layer("Conv1D", 4, 3, padding="causal", name="conv"), recurrent("LSTM", 4)]),
        "'conv' needs the whole sequence.*a recurrent layer instead",
    ),
    "masking": (
        in_sequence([layer("Masking", name="mask"), recurrent("LSTM", 4)]),
        "'mask' needs the whole sequence.*leave it out",
    ),
    "attention": (attentive, "'attends' needs the whole sequence.*wider LSTM or GRU"),
    "pooling": (
        in_sequence([recurrent("LSTM", 4), layer("MaxPooling1D", 2, 1, padding="same")]),
        "cannot be stepped",
    ),
    "no recurrent layer": (in_sequence([layer("Dense", 4)]), "no LSTM, GRU or SimpleRNN"),
    "a layer used twice": (used_twice, "looks at more than its own tick, or is used twice"),
    "a sum over time": (looks_back, "looks at more than its own tick"),
    "two inputs": (two_inputs, "one keras.Input and one output"),
    "a network in a network": (nested, "'inner' is a network"),
    "cells in one layer": (cells_in_one_layer, "'stack' stacks cells"),
    "no input": (lambda keras: keras.Sequential([keras.layers.LSTM(4)]), "one keras.Input"),
}


@pytest.mark.parametrize("name", NOT_STEPPABLE)
def test_what_cannot_be_stepped_is_refused(keras: Any, name: str) -> None:
    from slotcast_models.export import export_step

    build, message = NOT_STEPPABLE[name]

    with pytest.raises(ValueError, match=message):
        export_step(build(keras))


def test_export_leaves_the_network_as_it_was(keras: Any) -> None:
    from slotcast_models.export import export_step

    built, x = STEPPABLE["all between"](keras), ticks(4)
    before = built(x).numpy(), [weight.numpy() for weight in built.weights]
    first, second = export_step(built), export_step(built)

    assert first == second
    np.testing.assert_array_equal(built(x).numpy(), before[0])
    for weight, value in zip(built.weights, before[1], strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@saving
def test_the_committed_step_program_is_that_of_the_committed_network(keras: Any) -> None:
    from slotcast_models.export import export_step

    again = StepProgram(export_step(keras.models.load_model(DEFAULT / NETWORK)))
    kept = StepProgram(Bundle.load().program)
    x = ticks(50, Bundle.load().manifest.network.inputs)

    for found, wanted in zip(stepped(again, x), stepped(kept, x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert stepped(kept, x)[1].any()


def test_a_network_per_instrument_sees_every_quantity() -> None:
    schema = TickSchema(targets=("a", "b"), features=("c",))  # type: ignore[arg-type]
    bundle = Bundle.load()
    inputs, outputs = 2 * 3 + 1 + 1, 2
    spec = bundle.manifest.network.model_copy(
        update={
            "rows": "instrument",
            "inputs": inputs,
            "outputs": outputs,
            "width": 8,
            "corrects": False,
        }
    )
    manifest = bundle.manifest.model_copy(update={"network": spec})
    data = program_bytes((("rnn", 8),), inputs, outputs)
    stepper = Predictor(Bundle(manifest, data).bind(schema))
    rng = np.random.default_rng(0)
    value = rng.normal(size=(20, 3)).cumsum(0)
    value[-1, 2] = np.nan

    told = run(stepper, columns(value))

    x = told.memory.inputs[:1, :20]
    assert x.shape == (1, 20, inputs)
    np.testing.assert_array_equal(x[0, :, 6], [1.0] * 19 + [0.0])
    np.testing.assert_allclose(x[0, 1:, 7], np.log1p(1.0), rtol=1e-6)
    assert (x[0, 2:19, :6] != 0).all()
    _, row = stepped(StepProgram(data), x)
    assert told.memory.net[:1].tobytes() == row.tobytes()
