"""Keras networks over whole windows: sequence to sequence, autoencoder, classes at every step.

For work offline. What reads a window as a whole (a decoder behind `RepeatVector`) cannot be stepped
and so not be served; `build_classifier` can. All take sequences of any length. Needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from slotcast_models.windows import Windows

LAYERS = keras.layers


def build_decoder(features: int, steps: int, outputs: int, units: int = 32) -> Any:
    """One to many: a sequence is read into one vector, from which `steps` steps are written.

    `[batch, any, features] -> [batch, steps, outputs]`.
    """
    inputs = keras.Input((None, features))
    code = LAYERS.LSTM(units, name="encoder")(inputs)
    repeated = LAYERS.RepeatVector(steps, name="repeat")(code)
    written = LAYERS.LSTM(units, return_sequences=True, name="decoder")(repeated)
    return keras.Model(inputs, LAYERS.TimeDistributed(LAYERS.Dense(outputs), name="head")(written))


def build_classifier(features: int, classes: int, units: Sequence[int] = (512, 128)) -> Any:
    """A stack of GRUs with a softmax at every step: `[batch, any, features] -> [.., classes]`."""
    inputs = hidden = keras.Input((None, features))
    for i, size in enumerate(units):
        hidden = LAYERS.GRU(size, return_sequences=True, name=f"gru_{i}")(hidden)
    softmax = LAYERS.Dense(classes, activation="softmax")
    return keras.Model(inputs, LAYERS.TimeDistributed(softmax, name="classes")(hidden))


class Autoencoder:
    """Reconstructs windows of usual behaviour; what it reconstructs badly is unusual.

    Windows are standardised by mean and deviation of the usual ones, field by field.
    """

    def __init__(self, usual: Windows, units: int = 16, *, epochs: int = 20, seed: int = 1) -> None:
        keras.utils.set_random_seed(seed)
        steps, features = usual.x.shape[1:]
        self._mean = usual.x.mean((0, 1))
        self._spread = np.maximum(usual.x.std((0, 1)), 1e-6)
        self.network = build_decoder(features, steps, features, units)
        # Keras cannot compile TimeDistributed over a time axis of unknown length.
        self.network.compile(keras.optimizers.Adam(3e-3), "mse", jit_compile=False)
        x = self._standardised(usual)
        self.network.fit(x, x, epochs=epochs, batch_size=64, verbose=0)
        self._usual = float(self._errors(x).mean())

    def scores(self, windows: Windows) -> dict[str, NDArray[np.float64]]:
        """By slot: the error of each of its windows, in mean errors of the usual ones."""
        errors = self._errors(self._standardised(windows)) / self._usual
        return {name: errors[windows.slot == i] for i, name in enumerate(windows.slots)}

    def _standardised(self, windows: Windows) -> NDArray[np.float32]:
        return np.asarray((windows.x - self._mean) / self._spread, np.float32)

    def _errors(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        again = np.concatenate(
            [self.network(x[i : i + 1024], training=False).numpy() for i in range(0, len(x), 1024)]
        )
        return np.asarray(((again - x) ** 2).mean((1, 2)), np.float64)
