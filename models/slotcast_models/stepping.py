"""A recurrent Keras network as a function of one tick. Needs TensorFlow; serving does not.

The network is cloned with every recurrent layer replaced by one call of its cell; what the cells
carry becomes the row. Any sequential or functional network of LSTM, GRU, SimpleRNN and layers that
act on the last axis (Dense, normalisation, activation, dropout, concatenation) can be stepped. The
clone shares the network's weights, but for those of BatchNormalization, which are copied.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

LAYERS = keras.layers
CELLS = (LAYERS.LSTMCell, LAYERS.GRUCell, LAYERS.SimpleRNNCell)

RANDOM = (
    *(LAYERS.Dropout, LAYERS.SpatialDropout1D, LAYERS.AlphaDropout),
    *(LAYERS.GaussianDropout, LAYERS.GaussianNoise, LAYERS.ActivityRegularization),
)
"""What does nothing but in training, and there not either."""

ATTENTION = "attend to the last ticks with a wider LSTM or GRU instead"
POOLING = "leave it out: every tick gives an output, the last one is that of the sequence"
WAY_OUT: tuple[tuple[Any, str], ...] = (
    (LAYERS.Bidirectional, "leave the forward layer; a stream has no end to come back from"),
    (LAYERS.Conv1D, "put the last ticks into the inputs, or use a recurrent layer instead"),
    (LAYERS.SeparableConv1D, "use a recurrent layer instead"),
    (LAYERS.DepthwiseConv1D, "use a recurrent layer instead"),
    (LAYERS.Conv1DTranspose, "use a recurrent layer instead"),
    (LAYERS.MultiHeadAttention, ATTENTION),
    (LAYERS.GroupQueryAttention, ATTENTION),
    (LAYERS.Attention, ATTENTION),
    (LAYERS.AdditiveAttention, ATTENTION),
    (LAYERS.RepeatVector, "forecast several steps by a free run instead of a decoder"),
    (LAYERS.GlobalAveragePooling1D, POOLING),
    (LAYERS.GlobalMaxPooling1D, POOLING),
    (LAYERS.AveragePooling1D, POOLING),
    (LAYERS.MaxPooling1D, POOLING),
    (LAYERS.Masking, "leave it out: only ticks that came are stepped"),
    (LAYERS.Flatten, "use a recurrent layer without return_sequences instead"),
    (LAYERS.Reshape, "leave it out: a tick is one vector"),
    (LAYERS.Permute, "leave it out: a tick is one vector"),
    (LAYERS.UpSampling1D, "leave it out: one tick gives one output"),
    (LAYERS.Cropping1D, "leave it out: every tick counts"),
    (LAYERS.ZeroPadding1D, "leave it out: only ticks that came are stepped"),
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


class OneTick(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """The layer of a TimeDistributed, on the one tick; takes the mask that it was called with."""

    def __init__(self, inner: Any, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner

    def call(self, x: Any, mask: Any = None, training: Any = None) -> Any:
        """The inner layer's output."""
        return self.inner(x)

    def compute_output_shape(self, shape: Any) -> Any:
        """That of the inner layer."""
        return self.inner.compute_output_shape(shape)


class Stepped:
    """`network`, one tick at a time: `model` without its carried tensors, `advance` with them."""

    def __init__(self, network: Any) -> None:
        """Raises ValueError for a network that cannot be stepped; it names layer and way out."""
        refuse(network)
        self._steps: list[OneStep] = []
        copies: list[tuple[Any, Any]] = []

        def clone(layer: Any) -> Any:
            if isinstance(layer, LAYERS.TimeDistributed):
                return OneTick(layer.layer, name=f"tick_{layer.name}")
            if isinstance(layer, LAYERS.BatchNormalization):
                return copied(layer, copies)  # a built one insists on its number of axes
            if isinstance(layer, LAYERS.RNN):
                step = OneStep(layer.cell, name=f"step_{layer.name}")
                self._steps.append(step)
                return step
            return layer

        self.features = int(network.input_shape[-1])
        self.model = rebuilt(network, keras.Input((self.features,), name="tick"), clone, copies)
        if not self._steps:
            raise ValueError(
                "the network has no LSTM, GRU or SimpleRNN layer: nothing to carry; add one"
            )
        self.sizes = [n for step in self._steps for n in step.sizes]
        self.width, self.outputs = sum(self.sizes), int(self.model.output_shape[-1])

    def cells(self) -> tuple[tuple[str, int], ...]:
        """Recurrent layers from the input up, as (kind, units)."""
        kinds = dict(zip(CELLS, ("lstm", "gru", "rnn"), strict=True))
        return tuple((kinds[type(step.cell)], int(step.cell.units)) for step in self._steps)

    def advance(self, x: Any, row: Any) -> tuple[Any, Any]:
        """One tick of n rows: x [n, features], row [n, width] -> y [n, outputs], row_next."""
        parts = tf.split(row, self.sizes, axis=1)
        for step in self._steps:
            step.incoming, parts = parts[: len(step.sizes)], parts[len(step.sizes) :]
        y = self.model(x, training=False)
        return y, tf.concat([tensor for step in self._steps for tensor in step.outgoing], axis=1)


def idle_in_training(network: Any) -> list[str]:
    """Names of layers with dropout, noise or a penalty: training steps as serving does, without."""
    found = []
    for layer in network.layers:
        inner = getattr(layer, "layer", layer)
        cell = getattr(inner, "cell", None)
        drops = isinstance(inner, RANDOM) or any(
            getattr(cell, name, 0.0) > 0.0 for name in ("dropout", "recurrent_dropout")
        )
        settings = inner.get_config()
        if drops or any(settings[name] for name in settings if name.endswith("regularizer")):
            found.append(str(layer.name))
    return found


def refuse(network: Any) -> None:
    """Raise ValueError for a network that has no one tick at a time, as far as its layers tell."""
    inputs, outputs = getattr(network, "inputs", None), getattr(network, "outputs", None)
    if not inputs or not outputs or len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            "only a network with one keras.Input and one output can be stepped: join them with "
            "Concatenate, and begin with keras.Input((None, features))"
        )
    if len(network.input_shape) != 3 or network.input_shape[-1] is None:
        raise ValueError(
            f"input {network.input_shape}: need (batch, steps, features): begin with "
            "keras.Input((None, features))"
        )
    for layer in network.layers:
        _refuse_layer(layer, getattr(layer, "layer", layer))


def _refuse_layer(layer: Any, inner: Any) -> None:
    for kind, way_out in WAY_OUT:
        if isinstance(layer, kind) or isinstance(inner, kind):
            raise ValueError(
                f"layer {layer.name!r} needs the whole sequence: it cannot be stepped: {way_out}"
            )
    if getattr(inner, "go_backwards", False):
        raise ValueError(
            f"layer {layer.name!r} needs the whole sequence: it cannot be stepped: set "
            "go_backwards=False; a stream has no end to begin at"
        )
    if isinstance(inner, keras.Model):
        raise ValueError(f"layer {layer.name!r} is a network: use its layers instead")
    if not isinstance(inner, LAYERS.RNN):
        return
    if isinstance(inner.cell, LAYERS.StackedRNNCells):
        raise ValueError(f"layer {layer.name!r} stacks cells: use one recurrent layer per cell")
    if type(inner.cell) not in CELLS:
        raise ValueError(
            f"layer {layer.name!r} has cells of its own kind ({type(inner.cell).__name__}), whose "
            "carried values are unknown here: use LSTM, GRU or SimpleRNN"
        )


def copied(layer: Any, copies: list[tuple[Any, Any]], **changes: Any) -> Any:
    """A new layer of the same configuration but for `changes`; notes the pair in `copies`."""
    copies.append((layer, type(layer).from_config(layer.get_config() | changes)))
    return copies[-1][1]


def rebuilt(network: Any, inputs: Any, clone: Any, copies: list[tuple[Any, Any]]) -> Any:
    """The network on other inputs, each layer as `clone` says; copies get their weights."""
    try:
        built = keras.models.clone_model(network, input_tensors=inputs, clone_function=clone)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"the network cannot be stepped: {error}: each layer has to act on one tick alone"
        ) from error
    for layer, copy in copies:
        for weight, source in zip(copy.weights, layer.weights, strict=True):
            weight.assign(source)
    return built
