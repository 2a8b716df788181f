"""A bare echo: the worker's log adapter alone, which passes records on and computes nothing.

    python -m benchmarks.echo CONFIG

What it takes is the price of Kafka with this client, delivery mode and record size. It goes on at
the group's committed offset, else at the beginning. It ends when it is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from slotcast.log.kafka.log import KafkaLog
from slotcast.log.kafka.topics import ensure_topics
from slotcast.log.port import Batch, Committed, Forecasts, Log, Outbox
from slotcast.settings import Settings

FORECAST_BYTES = 640
"""About a forecast record's size."""


def forward(log: Log, max_ticks: int) -> int:
    """One poll, passed on in one commit; how many records that were."""
    poll = log.poll(200, max_ticks)
    for partition in poll.gained:
        committed = log.committed(partition)
        log.go(partition, committed.offset if committed else log.bounds(partition)[0])
    outbox = Outbox()
    for batch in poll.batches:
        outbox.forecasts.append(_as_forecasts(batch))
        outbox.offsets[batch.partition] = Committed(int(batch.offsets[-1]) + 1, "")
    if outbox.offsets:
        log.publish(outbox)
    return sum(len(batch) for batch in poll.batches)


def _as_forecasts(batch: Batch) -> Forecasts:
    keys: Any = batch.keys
    values = [b"x" * FORECAST_BYTES] * len(batch)
    return Forecasts(
        batch.partition, batch.offsets.tolist(), batch.timestamps_ms.tolist(), keys, values
    )


def main() -> None:
    """Pass records on, for ever."""
    settings = Settings.load(Path(sys.argv[1]))
    ensure_topics(settings.kafka)
    log = KafkaLog(settings.kafka)
    while True:
        forward(log, settings.worker.max_poll_ticks)


if __name__ == "__main__":
    main()
