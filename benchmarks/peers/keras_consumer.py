"""A plain consumer with Keras: one call of the model per tick, at least once.

    python -m benchmarks.peers.keras_consumer predict | predict_on_batch

The model takes the memory of its layers as inputs and gives it back, which is how one Keras model
serves many instruments tick by tick.
"""

from __future__ import annotations

import sys
import uuid
from typing import Any

import keras
import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer

from benchmarks.networks import CELLS, FEATURES, build
from benchmarks.peers.step import Memory, Topics, forecasts, inputs


def explicit(network: Any) -> Any:
    """`network` with its layers' memory `[1, units]` as inputs and outputs."""
    first = keras.Input((1, FEATURES))
    given, carried, hidden = [first], [], first
    for _, units in CELLS:
        h, c = keras.Input((units,)), keras.Input((units,))
        layer = keras.layers.LSTM(units, return_sequences=True, return_state=True)
        hidden, *after = layer(hidden, initial_state=[h, c])
        given += [h, c]
        carried += after
    y = keras.layers.Dense(1)(keras.layers.Concatenate()([hidden, first]))
    model = keras.Model(given, [y, *carried])
    model.set_weights(network.get_weights())
    return model


def main() -> None:
    """Serve ticks until killed."""
    topics, model = Topics.given(), explicit(build())
    call = {
        "predict": lambda x: model.predict(x, verbose=0),
        "predict_on_batch": model.predict_on_batch,
    }[sys.argv[1]]
    consumer = Consumer(
        {
            "bootstrap.servers": topics.bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topics.ticks])
    producer = Producer({"bootstrap.servers": topics.bootstrap})
    memories: dict[bytes, tuple[Memory, list[Any]]] = {}
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        tick = msgspec.json.decode(message.value())
        memory, carried = memories.get(message.key()) or _fresh(tick)
        x, logs = inputs([tick], [memory])
        y, *carried = call([x[:, None], *carried])
        memory.log_price, memory.ts = logs[0], tick["ts"]
        memories[message.key()] = memory, carried
        (forecast,) = forecasts([tick], logs, y[:, 0])
        producer.produce(topics.forecasts, msgspec.json.encode(forecast), message.key())
        producer.poll(0)


def _fresh(tick: dict[str, Any]) -> tuple[Memory, list[Any]]:
    nothing = np.zeros(0, np.float32)
    widths = [units for _, units in CELLS for _ in range(2)]
    zeros = [np.zeros((1, units), np.float32) for units in widths]
    return Memory(float(np.log(tick["price"])), tick["ts"], nothing), zeros


if __name__ == "__main__":
    main()
