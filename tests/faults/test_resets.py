"""Resets while ticks flow and workers die: asked of whoever answers, exact wherever they land."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from tests.e2e.running import Serving
from tests.faults.group import PARTITIONS, Group
from tests.faults.report import Fault
from tests.faults.ticks import stream

THREADS = 3


class Storm:
    """Resets of instruments, of unknown ones and of partitions, at these workers, until stopped."""

    def __init__(self, workers: Sequence[Serving], names: Sequence[str], partitions: int) -> None:
        self._workers, self._names, self._partitions = workers, names, partitions
        self._over = Event()
        self.receipts: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self._threads = [Thread(target=self._ask, args=(n,), daemon=True) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        rng = Random(seed)
        while not self._over.wait(0.05):
            worker, dice = rng.choice(self._workers), rng.random()
            if dice < 0.1:
                path, body = "/reset", {"partitions": [rng.randrange(self._partitions)]}
            else:
                name = rng.choice(self._names) if dice < 0.9 else f"nobody-{rng.randrange(9)}"
                path, body = f"/instruments/{quote(name, safe='')}/reset", None
            try:
                self.receipts += worker.post(path, body)[1]["receipts"]
            except HTTPError as error:
                with error:
                    self.refusals.append(error.read().decode())
            except OSError:  # it is dead
                continue


def record_at(worker: Serving, receipt: dict[str, Any]) -> tuple[bytes | None, bytes | None, bool]:
    """Key, value, and whether it is a control record."""
    records = worker.topics.records(worker.kafka.ticks, receipt["partition"])
    found = next(r for r in records if r.offset == receipt["offset"])
    return found.key, found.value, any(key == "slotcast-control" for key, _ in found.headers)


@pytest.mark.fault("resets at any worker while one is killed and comes back")
def test_resets_at_any_worker_are_exact_while_one_dies(
    group: Callable[..., Group], fault: Fault
) -> None:
    """Instruments outnumber slots: many of those that are reset are paged out."""
    workers = group(session_timeout_ms=4_000, transaction_timeout_ms=4_000)
    pair = [workers.join("worker-0"), workers.join("worker-1")]
    workers.feed()
    keys = {key for ticks in stream(PARTITIONS).ticks for key, *_ in ticks[:500] if key}
    storm = Storm(pair, sorted(key.decode() for key in keys), PARTITIONS)

    workers.flow_for(2)
    pair[1].kill()
    fault.injected()
    workers.flow_for(2)
    pair[1].start()
    workers.until_live(pair[1])
    workers.flow_for(2)
    storm.stop()

    assert storm.refusals == []
    assert len(storm.receipts) > 20
    by_place = {(r["partition"], r["offset"]): r for r in storm.receipts}
    assert len(by_place) == len(storm.receipts)
    for receipt in storm.receipts[:: len(storm.receipts) // 10]:
        name = receipt["instrument"]
        expected = (None, b"", True) if name is None else (name.encode(), None, False)
        assert record_at(pair[0], receipt) == expected, json.dumps(receipt)
    committed = sum(r["committed"] for r in storm.receipts)
    fault.note = f"{len(storm.receipts)} resets, {committed} seen to be committed"
    workers.check()
