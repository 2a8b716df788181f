"""Quix Streams: state per instrument in its store (RocksDB and a changelog), exactly once."""

from __future__ import annotations

import tempfile
from typing import Any

from quixstreams import Application, State

from benchmarks.peers.step import Forecaster, Memory, Topics


def main() -> None:
    """Serve ticks until killed."""
    topics, forecaster = Topics.given(), Forecaster()

    def on_tick(tick: dict[str, Any], state: State) -> dict[str, Any]:
        kept = state.get_bytes("memory")
        memory = Memory.from_bytes(kept) if kept else forecaster.fresh(tick)
        (forecast,) = forecaster.step([tick], [memory])
        state.set_bytes("memory", memory.to_bytes())
        return forecast

    application = Application(
        topics.bootstrap,
        consumer_group=topics.forecasts,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
        state_dir=tempfile.mkdtemp(prefix="slotcast-quix-"),
        loglevel="WARNING",
    )
    ticks = application.topic(topics.ticks, key_deserializer="bytes")
    forecasts = application.topic(topics.forecasts, key_serializer="bytes")
    application.dataframe(ticks).apply(on_tick, stateful=True).to_topic(forecasts)
    application.run()


if __name__ == "__main__":
    main()
