"""Keras networks that slotcast can step: stacks of LSTM, GRU or SimpleRNN with a linear head.

Needs TensorFlow; serving never imports this module. The head sees the last layer's output and the
input, and starts at zero, so that an untrained network forecasts no change: it *is* persistence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

CELLS: dict[str, Any] = {
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "rnn": keras.layers.SimpleRNN,
}


def build_network(
    cells: Sequence[tuple[str, int]], features: int, outputs: int, *, zero_head: bool = True
) -> Any:
    """A network for sequences `[batch, steps, features] -> [batch, steps, outputs]`.

    `cells` are (kind, units) from the input up, kind one of lstm, gru, rnn. Raises ValueError.
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
    output = keras.layers.Dense(outputs, kernel_initializer=start, name="head")(seen)
    return keras.Model(inputs, output)
