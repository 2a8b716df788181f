"""Export of a recurrent Keras network to a step program. Needs TensorFlow; serving does not.

The network is cloned with every recurrent layer replaced by one call of its cell; what the cells
carry becomes the row. Any sequential or functional network of LSTM, GRU, SimpleRNN and layers that
act on the last axis (Dense, normalisation, activation, dropout, concatenation) can be stepped.
"""

from __future__ import annotations

import tempfile
from typing import Any

import keras
import tensorflow as tf

SEQUENCE_LAYERS = (
    keras.layers.Bidirectional,
    keras.layers.Conv1D,
    keras.layers.Flatten,
    keras.layers.RepeatVector,
    keras.layers.Reshape,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.MultiHeadAttention,
)


class OneStep(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """One call of a recurrent cell; `incoming` and `outgoing` are its carried tensors."""

    def __init__(self, cell: Any, **options: Any) -> None:
        super().__init__(**options)
        self.cell = cell
        size = cell.state_size
        self.sizes = [size] if isinstance(size, int) else list(size)
        self.incoming: list[Any] | None = None
        self.outgoing: list[Any] = []

    def call(self, x: Any, mask: Any = None, training: Any = None) -> Any:
        """Step the cell from `incoming`, or from zeros while the graph is being built."""
        carried = self.incoming
        if carried is None:
            carried = [keras.ops.zeros((keras.ops.shape(x)[0], n)) for n in self.sizes]
        output, self.outgoing = self.cell(x, carried)
        return output

    def compute_output_shape(self, shape: Any) -> Any:
        """[n, features] -> [n, units]."""
        return (shape[0], self.cell.units)


def export_step(network: Any) -> bytes:
    """The step program of `network`, a flatbuffer with the signature described in `step`.

    Raises ValueError for a network that cannot be stepped, naming the layer.
    """
    steps: list[OneStep] = []

    def clone(layer: Any) -> Any:
        if isinstance(layer, SEQUENCE_LAYERS):
            raise ValueError(f"layer {layer.name!r} needs the whole sequence: it cannot be stepped")
        if isinstance(layer, keras.layers.TimeDistributed):
            return layer.layer
        if isinstance(layer, keras.layers.RNN):
            step = OneStep(layer.cell, name=f"step_{layer.name}")
            steps.append(step)
            return step
        return layer

    features = int(network.input_shape[-1])
    stepped = keras.models.clone_model(
        network, input_tensors=keras.Input((features,)), clone_function=clone
    )
    if not steps:
        raise ValueError("the network has no LSTM, GRU or SimpleRNN layer: nothing to carry")
    return _convert(stepped, steps, features)


def _convert(stepped: Any, steps: list[OneStep], features: int) -> bytes:
    sizes = [n for step in steps for n in step.sizes]

    def run(x: Any, row: Any) -> dict[str, Any]:
        parts = tf.split(row, sizes, axis=1)
        for step in steps:
            step.incoming, parts = parts[: len(step.sizes)], parts[len(step.sizes) :]
        y = stepped(x, training=False)
        carried = [tensor for step in steps for tensor in step.outgoing]
        return {"y": y, "row_next": tf.concat(carried, axis=1)}

    module = tf.Module()
    module.weights = [variable.value for variable in stepped.variables]
    module.step = tf.function(
        run,
        input_signature=[
            tf.TensorSpec((None, features), tf.float32, name="x"),
            tf.TensorSpec((None, sum(sizes)), tf.float32, name="row"),
        ],
    )
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures={"step": module.step})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=["step"])
        return bytes(converter.convert())
