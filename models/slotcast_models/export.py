"""Export of a recurrent Keras network to a step program. Needs TensorFlow; serving does not.

The network is cloned with every recurrent layer replaced by one call of its cell; what the cells
carry becomes the row. Any sequential or functional network of LSTM, GRU, SimpleRNN and layers that
act on the last axis (Dense, normalisation, activation, dropout, concatenation) can be stepped.

Every program is compared with its network on a short sequence before it is returned, so a network
that looks at other ticks in a way unknown here is refused. A zero head hides such a difference.
"""

from __future__ import annotations

import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from slotcast_models.step import StepProgram

SEQUENCE_LAYERS = (
    keras.layers.Bidirectional,
    keras.layers.Conv1D,
    keras.layers.Flatten,
    keras.layers.RepeatVector,
    keras.layers.Reshape,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.MultiHeadAttention,
    keras.layers.Attention,
    keras.layers.Masking,
)
CHECKED_STEPS = 5


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
    _refuse(network)
    steps: list[OneStep] = []
    copies: list[tuple[Any, Any]] = []

    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.layers.TimeDistributed):
            return layer.layer
        if isinstance(layer, keras.layers.BatchNormalization):
            return _copy(layer, copies)  # a built one insists on its number of axes
        if isinstance(layer, keras.layers.RNN):
            step = OneStep(layer.cell, name=f"step_{layer.name}")
            steps.append(step)
            return step
        return layer

    features = int(network.input_shape[-1])
    stepped = _rebuilt(network, keras.Input((features,)), clone, copies)
    if not steps:
        raise ValueError("the network has no LSTM, GRU or SimpleRNN layer: nothing to carry")
    program = _convert(stepped, steps, features)
    _compare(network, StepProgram(program))
    return program


def _refuse(network: Any) -> None:
    inputs, outputs = getattr(network, "inputs", None), getattr(network, "outputs", None)
    if not inputs or not outputs or len(inputs) != 1 or len(outputs) != 1:
        raise ValueError("only a network with one keras.Input and one output can be stepped")
    if len(network.input_shape) != 3:
        raise ValueError(f"input {network.input_shape}: need (batch, steps, features)")
    for layer in network.layers:
        inner = getattr(layer, "layer", layer)
        backwards = getattr(inner, "go_backwards", False)
        if backwards or isinstance(layer, SEQUENCE_LAYERS) or isinstance(inner, SEQUENCE_LAYERS):
            raise ValueError(f"layer {layer.name!r} needs the whole sequence: it cannot be stepped")
        if isinstance(inner, keras.Model):
            raise ValueError(f"layer {layer.name!r} is a network: use its layers instead")
        if isinstance(getattr(inner, "cell", None), keras.layers.StackedRNNCells):
            raise ValueError(f"layer {layer.name!r} stacks cells: use one recurrent layer per cell")


def _copy(layer: Any, copies: list[tuple[Any, Any]], **changes: Any) -> Any:
    copies.append((layer, type(layer).from_config(layer.get_config() | changes)))
    return copies[-1][1]


def _rebuilt(network: Any, inputs: Any, clone: Any, copies: list[tuple[Any, Any]]) -> Any:
    try:
        rebuilt = keras.models.clone_model(network, input_tensors=inputs, clone_function=clone)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"the network cannot be stepped: {error}") from error
    for layer, copy in copies:
        for weight, source in zip(copy.weights, layer.weights, strict=True):
            weight.assign(source)
    return rebuilt


def _compare(network: Any, program: StepProgram) -> None:
    copies: list[tuple[Any, Any]] = []

    def clone(layer: Any) -> Any:
        return _copy(layer, copies, stateful=False) if getattr(layer, "stateful", False) else layer

    plain = _rebuilt(network, keras.Input((None, program.features)), clone, copies)
    x = np.random.default_rng(0).normal(size=(CHECKED_STEPS, 2, program.features))
    x[CHECKED_STEPS // 2] = 0.0
    ticks, row, stepped = x.astype(np.float32), np.zeros((2, program.width), np.float32), []
    for tick in ticks:
        y, row = program.run(tick, row)
        stepped.append(y)
    wanted = np.asarray(plain(ticks.swapaxes(0, 1), training=False))
    found = np.stack(stepped, 1) if wanted.ndim == 3 else stepped[-1]
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-3, atol=1e-4):
        raise ValueError(
            "the network cannot be stepped: over a sequence it gives other outputs than tick by "
            "tick, so a layer looks at more than its own tick, or is used twice"
        )


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
