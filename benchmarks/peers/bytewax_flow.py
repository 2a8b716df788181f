"""Bytewax: state per instrument in `stateful_map`, without recovery, at least once.

    python -m bytewax.run benchmarks.peers.bytewax_flow

With BATCHED=1 a second form: a source batch is split into waves that are stepped together, from
memory in a dictionary of ours. That is faster, but Bytewax knows nothing of that memory and could
not recover it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import orjson
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow

from benchmarks.peers.step import Forecaster, Memory, Topics

BATCH = 10_000
forecaster = Forecaster()
memories: dict[bytes, Memory] = {}


def on_tick(memory: Memory | None, message: Any) -> tuple[Memory, Any]:
    """One tick of one instrument."""
    tick = orjson.loads(message.value)
    memory = memory or forecaster.fresh(tick)
    (forecast,) = forecaster.step([tick], [memory])
    return memory, KafkaSinkMessage(message.key, orjson.dumps(forecast))


def on_batch(messages: list[Any]) -> Iterator[Any]:
    """A source batch, wave by wave: the w-th tick of each instrument."""
    waves: list[list[Any]] = []
    seen: dict[bytes, int] = {}
    for message in messages:
        wave = seen[message.key] = seen.get(message.key, -1) + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append(message)
    for wave_messages in waves:
        ticks = [orjson.loads(message.value) for message in wave_messages]
        here = []
        for message, tick in zip(wave_messages, ticks, strict=True):
            if message.key not in memories:
                memories[message.key] = forecaster.fresh(tick)
            here.append(memories[message.key])
        made = forecaster.step(ticks, here)
        for message, forecast in zip(wave_messages, made, strict=True):
            yield KafkaSinkMessage(message.key, orjson.dumps(forecast))


def build(topics: Topics, *, batched: bool) -> Dataflow:
    """The flow."""
    flow = Dataflow("forecast")
    add = {"fetch.queue.backoff.ms": "5"}
    source = KafkaSource([topics.bootstrap], [topics.ticks], add_config=add, batch_size=BATCH)
    ticks = op.input("ticks", flow, source)
    if batched:
        made = op.flat_map_batch("forecast", ticks, on_batch)
    else:
        keyed = op.key_on("instrument", ticks, lambda message: message.key.decode())
        made = op.key_rm("value", op.stateful_map("forecast", keyed, on_tick))
    op.output("forecasts", made, KafkaSink([topics.bootstrap], topics.forecasts))
    return flow


flow = build(Topics.given(), batched=os.environ.get("BATCHED") == "1")
