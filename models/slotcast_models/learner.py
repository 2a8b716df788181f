"""Learning of network weights as a pure function of a window, the weights and optimiser values.

    learner = Learner(network, lanes=1)
    values = learner.start()
    values, rows, loss = learner.learn(values, window, rows)

Truncated backpropagation through time: the loss is over all steps of a window that begins from the
carried rows, and the rows that come back are those after `stride` steps, where the next window
begins. Nothing is remembered between calls: training, the backtest and a service role can all use
it. One compiled function with fixed shapes. Needs TensorFlow; serving does not.

The optimiser is Adam (Kingma and Ba, 2015), every gradient first cut to norm `clip_norm`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from slotcast_models.heads import Head
from slotcast_models.stepping import Stepped

Floats = NDArray[np.float32]
EVALUATED_STEPS = 256
DECAY, SQUARE_DECAY, TINY = 0.9, 0.999, 1e-7


@dataclass(frozen=True)
class LearningRule:
    """How weights move: one update per `stride` ticks, over the last `window` of them."""

    window: int = 32
    stride: int = 8
    rate: float = 5e-4
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise ValueError(
                f"stride {self.stride}, window {self.window}: need 1 <= stride <= window, else "
                "there are ticks that nothing is learnt from"
            )
        for name in ("rate", "clip_norm"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: need a number above 0")


class Values(NamedTuple):
    """All that learning changes: weights, and Adam's count, means and mean squares."""

    weights: tuple[Any, ...]
    optimiser: tuple[Any, ...]


class Window(NamedTuple):
    """Ticks of some lanes, side by side."""

    x: Floats  # [lanes, window, inputs]
    label: Floats  # [lanes, window, targets], NaN where there is nothing to learn
    start: Floats  # [lanes, window]  1 where a sequence begins: its row is fresh


class Learner:
    """The learning of one network with a fixed number of lanes."""

    def __init__(
        self,
        network: Any,
        lanes: int,
        rule: LearningRule | None = None,
        head: Head | None = None,
        vectors: Floats | None = None,
    ) -> None:
        """`network` [batch, steps, inputs] -> [batch, steps, targets * head.outputs].

        `vectors` [instruments, numbers] are learnt too. They are the network's last inputs; in the
        windows the instrument's number stands in the first of these places.

        Raises ValueError if it cannot be stepped, or not be trained.
        """
        for layer in network.layers:
            inner = getattr(layer, "layer", layer)  # of a TimeDistributed
            if isinstance(inner, keras.layers.BatchNormalization):
                raise ValueError(
                    f"layer {layer.name!r} normalises over the batch, which here are instruments: "
                    "use LayerNormalization instead"
                )
        self.lanes, self.rule, self.head = lanes, rule or LearningRule(), head or Head()
        self.network, self.stepped = network, Stepped(network)
        self.targets = self.stepped.outputs // self.head.outputs
        self._variables = self.stepped.model.trainable_variables
        self._vectors = () if vectors is None else (vectors,)
        shapes = [v.shape for v in (*self._variables, *self._vectors)]
        self._weights = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
        self._learn = self._compiled(self._learn_window, self.rule.window, self.targets)
        self._outputs = self._compiled(self._step_all, EVALUATED_STEPS)
        self._step = tf.function(self._step_once, jit_compile=True, reduce_retracing=False)

    def start(self) -> Values:
        """The network's present weights, and an optimiser that has seen nothing."""
        weights = tuple(tf.constant(v.value) for v in self._variables)
        weights += tuple(tf.constant(v, tf.float32) for v in self._vectors)
        still = tuple(tf.zeros_like(w) for w in weights)
        return Values(weights, (tf.constant(0.0), *still, *still))

    def fresh_rows(self) -> Floats:
        """Rows of lanes that have seen nothing."""
        return np.zeros((self.lanes, self.stepped.width), np.float32)

    def learn(self, values: Values, window: Window, rows: Any) -> tuple[Values, Any, Any]:
        """One update: new values, the rows after `stride` steps (by the old weights), the loss."""
        weights, optimiser, rows, loss = self._learn(
            *values, window.x, window.start, rows, window.label
        )
        return Values(weights, optimiser), rows, loss

    def outputs(self, values: Values, x: Floats, start: Floats) -> Floats:
        """Outputs [lanes, steps, outputs] for x [lanes, steps, inputs], from fresh rows.

        Steps rows of its own: no carried row moves.
        """
        rows, parts = self.fresh_rows(), []
        for first in range(0, x.shape[1], EVALUATED_STEPS):
            part = slice(first, first + EVALUATED_STEPS)
            y, rows = self._outputs(
                values.weights, _filled(x[:, part]), _filled(start[:, part]), rows
            )
            parts.append(y.numpy()[:, : x[:, part].shape[1]])
        return np.concatenate(parts, axis=1)

    def step(self, weights: tuple[Any, ...], x: Floats, row: Floats) -> tuple[Floats, Floats]:
        """One tick of n rows: outputs [n, outputs] and rows [n, width]; compiled for each n."""
        y, row_next = self._step(weights, x, row)
        return y.numpy(), row_next.numpy()

    def assign(self, values: Values) -> None:
        """Write the weights into the network; vectors are not in it."""
        for variable, weight in self._mapping(values.weights):
            variable.assign(weight)

    def _mapping(self, weights: Sequence[Any]) -> list[tuple[Any, Any]]:
        own = weights[: len(weights) - len(self._vectors)]
        return list(zip(self._variables, own, strict=True))

    def _with_vectors(self, weights: Sequence[Any], x: Any) -> Any:
        """The inputs [lanes, steps, inputs] with vectors in place of the instruments' numbers."""
        if not self._vectors:
            return x
        first = x.shape[-1] - weights[-1].shape[-1]
        vectors = tf.gather(weights[-1], tf.cast(x[..., first], tf.int32))
        return tf.concat([x[..., :first], vectors], axis=-1)

    def _compiled(self, function: Any, steps: int, targets: int | None = None) -> Any:
        def floats(*shape: int) -> tf.TensorSpec:
            return tf.TensorSpec(shape, tf.float32)

        signature: list[Any] = [self._weights]
        if targets is not None:
            signature.append((floats(), *self._weights, *self._weights))
        signature += [floats(self.lanes, steps, self.stepped.features), floats(self.lanes, steps)]
        signature.append(floats(self.lanes, self.stepped.width))
        if targets is not None:
            signature.append(floats(self.lanes, steps, targets))
        return tf.function(function, input_signature=signature, jit_compile=True)

    def _steps(self, weights: Sequence[Any], x: Any, start: Any, rows: Any) -> tuple[Any, Any, Any]:
        """Outputs [lanes, steps, outputs]; rows after `stride` steps, and after the last."""
        steps, keep = x.shape[1], self.rule.stride
        x = self._with_vectors(weights, x)

        def step(t: Any, row: Any, kept: Any, ys: Any) -> tuple[Any, ...]:
            row = row * (1.0 - start[:, t])[:, None]
            y, row = self.stepped.advance(x[:, t], row)
            return t + 1, row, tf.where(t < keep, row, kept), ys.write(t, y)

        with keras.StatelessScope(state_mapping=self._mapping(weights)):
            ys = tf.TensorArray(tf.float32, steps, element_shape=(self.lanes, self.stepped.outputs))
            loop = (tf.constant(0), rows, rows, ys)
            _, last, kept, ys = tf.while_loop(
                lambda t, *_: t < steps, step, loop, maximum_iterations=steps
            )
        return tf.transpose(ys.stack(), [1, 0, 2]), kept, last

    def _step_once(self, weights: Any, x: Any, row: Any) -> tuple[Any, Any]:
        with keras.StatelessScope(state_mapping=self._mapping(weights)):
            return self.stepped.advance(x, row)

    def _step_all(self, weights: Any, x: Any, start: Any, rows: Any) -> tuple[Any, Any]:
        y, _, last = self._steps(weights, x, start, rows)
        return y, last

    def _learn_window(
        self, weights: Any, optimiser: Any, x: Any, start: Any, rows: Any, label: Any
    ) -> tuple[Any, Any, Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            y, kept, _ = self._steps(weights, x, start, rows)
            loss = self.head.loss(y, label)
        gradients = [tf.convert_to_tensor(part) for part in tape.gradient(loss, weights)]
        moved, moments = self._adam(weights, optimiser, gradients)
        learnt = tf.reduce_any(tf.math.is_finite(label))  # else momentum alone would move weights
        weights = tuple(tf.where(learnt, a, b) for a, b in zip(moved, weights, strict=True))
        optimiser = tuple(tf.where(learnt, a, b) for a, b in zip(moments, optimiser, strict=True))
        return weights, optimiser, kept, loss

    def _adam(self, weights: Any, optimiser: Any, gradients: Any) -> tuple[Any, Any]:
        n, count = len(weights), optimiser[0] + 1.0
        pace = self.rule.rate * tf.sqrt(1.0 - SQUARE_DECAY**count) / (1.0 - DECAY**count)
        moved, means, squares = [], [], []
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            size = tf.norm(gradient)
            cut = gradient * self.rule.clip_norm / tf.maximum(size, self.rule.clip_norm)
            means.append(DECAY * optimiser[1 + i] + (1.0 - DECAY) * cut)
            squares.append(SQUARE_DECAY * optimiser[1 + n + i] + (1.0 - SQUARE_DECAY) * cut * cut)
            moved.append(weight - pace * means[-1] / (tf.sqrt(squares[-1]) + TINY))
        return tuple(moved), (count, *means, *squares)


def one_thread() -> None:
    """Let TensorFlow use one thread, and the same order of every sum; before its first use."""
    for threads in ("intra", "inter"):
        getattr(tf.config.threading, f"set_{threads}_op_parallelism_threads")(1)
    tf.config.experimental.enable_op_determinism()


def _filled(part: Floats) -> Floats:
    missing = EVALUATED_STEPS - part.shape[1]
    return np.pad(part, [(0, 0), (0, missing)] + [(0, 0)] * (part.ndim - 2)) if missing else part
