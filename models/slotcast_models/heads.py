"""What a network says of a target besides the next scaled change, and how that is learnt.

Every head gives the change first, since the fold needs it. `quantiles` adds quantiles of the
change, `classes` the probabilities that the target goes down, stays flat (within `flat` scales) or
goes up. Knows no TensorFlow but inside `loss`: serving reads the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Kind = Literal["regression", "quantiles", "classes"]
CLASSES = ("down", "flat", "up")
SMALLEST = 1e-7


@dataclass(frozen=True)
class Head:
    """A head: its kind, the quantiles' probabilities, and how far "flat" reaches, in scales."""

    kind: Kind = "regression"
    probabilities: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    flat: float = 0.25

    def __post_init__(self) -> None:
        """Raises ValueError for no probabilities, or such as do not rise."""
        rising = all(a < b for a, b in pairwise((0.0, *self.probabilities, 1.0)))
        if not (self.probabilities and rising):
            raise ValueError("quantiles need probabilities that rise between 0 and 1, at least one")

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the outputs per target after the change."""
        if self.kind == "quantiles":
            return tuple(str(p) for p in self.probabilities)
        return CLASSES if self.kind == "classes" else ()

    @property
    def outputs(self) -> int:
        """Outputs per target."""
        return 1 + len(self.extras)

    def loss(self, outputs: Any, labels: Any) -> Any:
        """Mean loss over the labels [..., T] that are not NaN; outputs [..., T * self.outputs].

        Squared error of the change, plus pinball loss of the quantiles or cross-entropy.
        """
        import tensorflow as tf

        known = tf.math.is_finite(labels)
        label = tf.where(known, labels, 0.0)
        shape = tf.concat([tf.shape(labels), [self.outputs]], 0)
        parts = tf.reshape(outputs, shape)
        lost = (parts[..., 0] - label) ** 2 + self._extra_loss(parts[..., 1:], label)
        count = tf.reduce_sum(tf.cast(known, tf.float32))
        return tf.reduce_sum(tf.where(known, lost, 0.0)) / tf.maximum(count, 1.0)

    def _extra_loss(self, extras: Any, label: Any) -> Any:
        import tensorflow as tf

        if self.kind == "quantiles":
            p = tf.constant(self.probabilities, tf.float32)
            miss = label[..., None] - extras
            return tf.reduce_sum(tf.maximum(p * miss, (p - 1.0) * miss), axis=-1)
        if self.kind == "classes":
            went = tf.stack([label < -self.flat, abs(label) <= self.flat, label > self.flat], -1)
            likely = tf.reduce_sum(tf.where(went, extras, 0.0), axis=-1)
            return -tf.math.log(tf.maximum(likely, SMALLEST))
        return 0.0
