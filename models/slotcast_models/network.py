"""Keras networks that slotcast can step: stacks of LSTM, GRU or SimpleRNN with a linear head.

Needs TensorFlow; serving never imports this module. The head sees the last layer's output and the
input, and starts at zero, so that an untrained network forecasts no change: it *is* persistence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from slotcast_models.heads import Head
from slotcast_models.intervals import start_quantiles
from slotcast_models.rules import FoldRules

CELLS: dict[str, Any] = {
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "rnn": keras.layers.SimpleRNN,
}


def build_network(
    cells: Sequence[tuple[str, int]],
    features: int,
    targets: int,
    *,
    head: Head | None = None,
    zero_head: bool = True,
) -> Any:
    """A network for sequences `[batch, steps, features] -> [batch, steps, targets * outputs]`.

    `cells` are (kind, units) from the input up, kind one of lstm, gru, rnn. `head` says how many
    outputs a target has: the change, and what stands beside it. Raises ValueError.
    """
    unknown = [kind for kind, _ in cells if kind not in CELLS]
    if unknown or not cells:
        raise ValueError(f"cells {list(cells)}: need one or more of {', '.join(CELLS)} with units")
    inputs = keras.Input((None, features), name="x")
    hidden = inputs
    for i, (kind, units) in enumerate(cells):
        hidden = CELLS[kind](units, return_sequences=True, name=f"{kind}_{i}")(hidden)
    seen = keras.layers.Concatenate(name="seen")([hidden, inputs])
    start = "zeros" if zero_head else "glorot_uniform"
    if head is None or head.kind == "regression":
        output = keras.layers.Dense(targets, kernel_initializer=start, name="head")(seen)
        return keras.Model(inputs, output, name="network")
    parts = [part for j in range(targets) for part in _of_target(head, j, start)]
    output = keras.layers.Concatenate(name="head")([part(seen) for part in parts])
    return keras.Model(inputs, output, name="network")


def _of_target(head: Head, j: int, start: str) -> list[Any]:
    """The layers that give one target's change, and its quantiles or classes."""
    dense, extras = keras.layers.Dense, len(head.extras)
    change = dense(1, kernel_initializer=start, name=f"change_{j}")
    if head.kind == "classes":
        named = {"activation": "softmax", "name": f"classes_{j}"}
        return [change, dense(extras, kernel_initializer=start, **named)]
    first = keras.initializers.Constant(_start_of(head.probabilities))
    return [
        change,
        dense(extras, kernel_initializer=start, bias_initializer=first, name=f"quantiles_{j}"),
    ]


def _start_of(probabilities: Sequence[float]) -> list[float]:
    """Quantiles of the change before anything is learnt: those that intervals start from."""
    degrees = FoldRules().error_degrees
    sides = [start_quantiles((abs(2.0 * p - 1.0),), degrees)[:, 0] for p in probabilities]
    return [float(side[int(p >= 0.5)]) for p, side in zip(probabilities, sides, strict=True)]
