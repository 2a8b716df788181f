"""Producers of tick topics: a file's ticks, or the simulated market at the present time.

Files and market come as JSON records; what the topic gets is in the schema's format.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaProducer
from kafka.errors import KafkaError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from slotcast.feeds.feed import PULSE_S, paced
from slotcast.feeds.files import ColumnMap, Pace, count_rows, read_ticks
from slotcast.feeds.simulator import Market, encode
from slotcast.formats.port import Format
from slotcast.log.kafka.client import connection, kafka_errors
from slotcast.log.kafka.topics import ensure_tick_topic
from slotcast.log.port import LogError
from slotcast.settings import KafkaSettings


class TickProducer:
    """Sends keyed records and finds out about every one of them. Raises LogError."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic, self._sent = topic, list[Any]()
        ensure_tick_topic(settings.model_copy(update={"ticks": topic}))
        limit_ms = settings.delivery_timeout_ms
        with kafka_errors("start a producer", settings):
            self._producer = KafkaProducer(
                **connection(settings) | {"request_timeout_ms": limit_ms // 2},
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                batch_size=262_144,
                delivery_timeout_ms=limit_ms,
                max_block_ms=limit_ms,
            )

    def send(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Send these records in order."""
        send, topic = self._producer.send, self._topic
        try:
            self._sent += [
                send(topic, value, key=key or None) for key, value in zip(keys, values, strict=True)
            ]
            if len(self._sent) > 100_000:
                self.flush()
        except KafkaError as error:
            raise LogError(f"topic {topic}: {error}") from error

    def flush(self) -> None:
        """Wait until all are in the topic."""
        try:
            self._producer.flush()
            for future in self._sent:
                future.get(timeout=0)
        except KafkaError as error:
            raise LogError(f"topic {self._topic}: {error}") from error
        self._sent.clear()

    def close(self) -> None:
        """Give the connections back."""
        self._producer.close(timeout=5)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )


def produce_file(
    settings: KafkaSettings,
    topic: str,
    path: Path,
    columns: ColumnMap,
    speed: float | None,
    form: Format,
    stop: threading.Event,
) -> int:
    """Send the file's ticks; returns how many. Raises FileError, FormatError, LogError."""
    pace = Pace(speed)
    parts = (part for block in read_ticks(path, columns) for part in paced(block, pace, stop))
    title, rows = f"{path.name} -> {topic}", count_rows(path)
    return _send_all(settings, topic, title, rows, _in_format(parts, form), stop)


def produce_market(
    settings: KafkaSettings,
    topic: str,
    instruments: int,
    rate: float,
    total: int | None,
    form: Format,
    stop: threading.Event,
) -> int:
    """Send the simulated market at `rate` ticks a second; returns how many.

    Raises FormatError, LogError.

    Ticks carry the present time, so that a restarted producer is never in its own past.
    """
    market, begun = Market(instruments), time.monotonic()

    def parts() -> Iterator[tuple[Sequence[bytes], Sequence[bytes]]]:
        sent = 0
        while total is None or sent < total:
            due = int((time.monotonic() - begun) * rate) - sent
            n = min(due, 5_000, due if total is None else total - sent)
            if n > 0:
                ticks = market.next(n)
                now_ms = np.full(n, round(time.time() * 1e3), np.int64)
                yield encode(replace(ticks, ts_ms=now_ms), market.names)
                sent += n
            if stop.wait(PULSE_S):  # at a slow rate the next part may be long in coming
                return

    title, sent = f"simulated market -> {topic}", _in_format(parts(), form)
    return _send_all(settings, topic, title, total, sent, stop)


def _in_format(
    parts: Iterable[tuple[Sequence[bytes], Sequence[bytes]]], form: Format
) -> Iterator[tuple[Sequence[bytes], Sequence[bytes]]]:
    """Keys and values, with JSON values written anew."""
    read = msgspec.json.decode
    for keys, values in parts:
        yield keys, values if form.text else [form.write_tick(read(value)) for value in values]


def _send_all(
    settings: KafkaSettings,
    topic: str,
    title: str,
    total: int | None,
    parts: Iterable[tuple[Sequence[bytes], Sequence[bytes]]],
    stop: threading.Event,
) -> int:
    producer, begun, sent = TickProducer(settings, topic), time.monotonic(), 0
    try:
        with _progress() as progress:
            task = progress.add_task(title, total=total, rate=0.0)
            for keys, values in parts:
                if stop.is_set():
                    break
                producer.send(keys, values)
                sent += len(keys)
                rate = sent / max(time.monotonic() - begun, 1e-9)
                progress.update(task, completed=sent, rate=rate)
            producer.flush()
    finally:
        producer.close()
    return sent
