"""Records of kafka-python to columns, and dead letters to headers and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slotcast.log.kafka.client import CONTROL_HEADER
from slotcast.log.port import Batch, DeadLetter

NULL_VALUE_HEADER = "slotcast-null-value"
"""On a record that had neither key nor value: kafka-python refuses to send one."""


def batch_of(partition: int, records: Sequence[Any]) -> Batch:
    """Columns of consecutive `ConsumerRecord`s of one partition."""
    controls = None
    if any(record.headers for record in records):
        controls = [_control(record.headers) for record in records]
        controls = controls if any(control is not None for control in controls) else None
    return Batch(
        partition,
        np.array([record.offset for record in records], np.int64),
        np.array([record.timestamp for record in records], np.int64),
        [record.key for record in records],
        [record.value for record in records],
        controls,
    )


def _control(headers: Sequence[tuple[str, bytes | None]]) -> bytes | None:
    for name, value in headers:
        if name == CONTROL_HEADER:
            return value or b""
    return None


def headers_of(letter: DeadLetter, topic: str) -> list[tuple[str, bytes]]:
    """The headers of a dead letter; `topic` is the one that its record came from."""
    fields = {
        "slotcast-reason": letter.reason,
        "slotcast-detail": letter.detail,
        "slotcast-topic": topic,
        "slotcast-partition": str(letter.partition),
        "slotcast-offset": str(int(letter.offset)),
        "slotcast-timestamp-ms": str(int(letter.timestamp_ms)),
        "slotcast-length": str(letter.length),
        "slotcast-sha256": letter.sha256,
    }
    headers = [(name, text.encode(errors="replace")) for name, text in fields.items()]
    if letter.key is None and letter.value is None:
        headers.append((NULL_VALUE_HEADER, b""))
    return headers


def dead_letter_of(record: Any) -> DeadLetter:
    """The dead letter that a record of the dead-letter topic carries."""
    fields = {name: value.decode() for name, value in record.headers}
    return DeadLetter(
        int(fields["slotcast-partition"]),
        int(fields["slotcast-offset"]),
        int(fields["slotcast-timestamp-ms"]),
        fields["slotcast-reason"],
        fields["slotcast-detail"],
        record.key,
        None if NULL_VALUE_HEADER in fields else record.value,
        int(fields["slotcast-length"]),
        fields["slotcast-sha256"],
    )
