"""Export of a recurrent Keras network to a step program. Needs TensorFlow; serving does not.

Which networks can be stepped, `stepping` says. Every program is compared with its network on a
short sequence before it is returned, so a network that looks at other ticks in a way unknown here
is refused. A zero head hides such a difference.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from slotcast_models.step import StepProgram
from slotcast_models.stepping import Stepped, copied, rebuilt

CHECKED_STEPS = 5
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def export_step(network: Any) -> bytes:
    """The step program of `network`, a flatbuffer with the signature described in `step`.

    Raises ValueError for a network that cannot be stepped, naming the layer.
    """
    program = _converted(Stepped(network))
    _compare(network, StepProgram(program))
    return program


def saved_network(network: Any) -> bytes:
    """The network as a .keras file that says nothing of when and where in memory it was written."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "network.keras"
        network.save(path)
        kept, written = io.BytesIO(), zipfile.ZipFile(path)
    with written, zipfile.ZipFile(kept, "w") as undated:
        for name in sorted(written.namelist()):
            content = written.read(name)
            if name == "metadata.json":
                facts = json.loads(content)
                content = json.dumps({"keras_version": facts["keras_version"]}).encode()
            if name == "config.json":
                numbers: dict[int, int] = {}
                content = json.dumps(_numbered(json.loads(content), numbers)).encode()
            undated.writestr(zipfile.ZipInfo(name, LONG_AGO), content)
    return kept.getvalue()


def _numbered(part: Any, numbers: dict[int, int]) -> Any:
    """A configuration whose shared objects are numbered as they appear, not by address."""
    if isinstance(part, list):
        return [_numbered(each, numbers) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: numbers.setdefault(each, len(numbers))
        if key == "shared_object_id"
        else _numbered(each, numbers)
        for key, each in part.items()
    }


def _compare(network: Any, program: StepProgram) -> None:
    copies: list[tuple[Any, Any]] = []

    def clone(layer: Any) -> Any:
        return copied(layer, copies, stateful=False) if getattr(layer, "stateful", False) else layer

    plain = rebuilt(network, keras.Input((None, program.features)), clone, copies)
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
            "tick, so a layer looks at more than its own tick, or is used twice: leave that layer "
            "out, or make a second one"
        )


def _converted(stepped: Stepped) -> bytes:
    def run(x: Any, row: Any) -> dict[str, Any]:
        y, row_next = stepped.advance(x, row)
        return {"y": y, "row_next": row_next}

    module = tf.Module()
    module.weights = [variable.value for variable in stepped.model.variables]
    module.step = tf.function(
        run,
        input_signature=[
            tf.TensorSpec((None, stepped.features), tf.float32, name="x"),
            tf.TensorSpec((None, stepped.width), tf.float32, name="row"),
        ],
    )
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures={"step": module.step})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=["step"])
        return bytes(converter.convert())
