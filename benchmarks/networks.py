"""The network of P1 and P2, and other ways to step it: Keras and TensorFlow, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from slotcast_models.bundle import Bundle, Manifest, NetworkSpec
from slotcast_models.export import export_step
from slotcast_models.network import build_network
from slotcast_models.step import StepProgram

Floats = NDArray[np.float32]
CELLS = (("lstm", 64), ("lstm", 64))
FEATURES = 3
SEEN_TICKS = 20
TOLERANCE = 1e-5

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def build() -> Any:
    """2 x LSTM 64 with random weights."""
    keras.utils.set_random_seed(3)
    return build_network(CELLS, FEATURES, 1, zero_head=False)


def bundle_of(network: Any) -> Bundle:
    """The network as a bundle, not bound to a schema."""
    spec = NetworkSpec(
        cells=CELLS,
        inputs=FEATURES,
        outputs=1,
        width=sum(2 * units for _, units in CELLS),
        parameters=network.count_params(),
        training="none: random weights",
    )
    return Bundle(Manifest(name="bench", network=spec, files={}), export_step(network))


def operations(network: Any) -> int:
    """Floating-point operations of one step in matrix products: two per weight.

    Activations and element-wise products are not counted, so the floor they make is a true one.
    """
    return sum(2 * int(np.prod(w.shape)) for w in network.get_weights() if w.ndim == 2)


def stateful(network: Any, rows: int) -> Any:
    """The same network for `rows` rows that remembers between calls, as Keras offers it."""
    inputs = keras.Input(batch_shape=(rows, 1, FEATURES))
    hidden = inputs
    for _, units in CELLS:
        hidden = keras.layers.LSTM(units, return_sequences=True, stateful=True)(hidden)
    output = keras.layers.Dense(1)(keras.layers.Concatenate()([hidden, inputs]))
    model = keras.Model(inputs, output)
    model.set_weights(network.get_weights())
    return model


def keras_calls(network: Any, rows: int) -> dict[str, Callable[[Floats], Floats]]:
    """Ways to step `rows` rows `[rows, features]`, each with memory of its own."""
    models = [stateful(network, rows) for _ in range(4)]
    compiled = [
        tf.function(lambda x, m=model: m(x, training=False), jit_compile=xla)
        for model, xla in ((models[2], False), (models[3], True))
    ]
    return {
        "predict": lambda x: models[0].predict(x[:, None], batch_size=rows, verbose=0)[:, 0],
        "predict_on_batch": lambda x: models[1].predict_on_batch(x[:, None])[:, 0],
        "tf.function": lambda x: compiled[0](tf.constant(x[:, None])).numpy()[:, 0],
        "tf.function, XLA": lambda x: compiled[1](tf.constant(x[:, None])).numpy()[:, 0],
    }


def check_equal(
    program: StepProgram, calls: dict[str, Callable[[Floats], Floats]], rows: int
) -> float:
    """Feed all the same ticks; the largest difference to the step program, or AssertionError."""
    rng = np.random.default_rng(1)
    row, largest = np.zeros((rows, program.width), np.float32), 0.0
    for _ in range(SEEN_TICKS):
        x = rng.normal(size=(rows, program.features)).astype(np.float32)
        y, row = program.run(x, row)
        for name, call in calls.items():
            difference = float(np.abs(call(x) - y).max())
            assert difference < TOLERANCE, (name, difference)
            largest = max(largest, difference)
    return largest


def litert_product(size: int, rows: int) -> Callable[[], object]:
    """One float32 product [rows, size] x [size, size] in the runtime that steps the network."""
    weights = tf.constant(np.random.default_rng(1).normal(size=(size, size)).astype(np.float32))
    product = tf.function(
        lambda x: tf.linalg.matmul(x, weights),
        input_signature=[tf.TensorSpec((rows, size), tf.float32)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([product.get_concrete_function()])
    interpreter = Interpreter(model_content=bytes(converter.convert()), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter.invoke  # type: ignore[no-any-return]
