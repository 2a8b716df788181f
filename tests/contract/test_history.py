"""The rules of the history port, run against every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotcast.log.history import History
from slotcast.log.kafka.history import KafkaHistory
from slotcast.log.memory.history import MemoryHistory
from slotcast.log.port import Committed, DeadLetter, Log, LogError, OffsetOutOfRange, Outbox
from slotcast.log.sqlite.history import SqliteHistory
from slotcast.settings import KafkaSettings
from tests.contract.test_log import (
    Bench,
    KafkaBench,
    MemoryBench,
    SqliteBench,
    forecasts,
    letter,
    settled,
    ticks,
)
from tests.servers import Broker

Open = Callable[[], History]


@pytest.fixture(params=["memory", "sqlite", "exactly-once", "at-least-once"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench: Bench
    if request.param == "memory":
        bench = MemoryBench()
    elif request.param == "sqlite":
        bench = SqliteBench(tmp_path / "log.db")
    else:
        bench = KafkaBench(request.getfixturevalue("kafka"), request.param)
    yield bench
    bench.close()


@pytest.fixture
def log(bench: Bench) -> Log:
    return settled(bench.join())


@pytest.fixture
def reading(bench: Bench, log: Log) -> Iterator[Open]:
    opened: list[History] = []

    def open_history() -> History:
        if isinstance(bench, MemoryBench):
            opened.append(MemoryHistory(bench.broker))
        elif isinstance(bench, SqliteBench):
            opened.append(SqliteHistory(bench.path))
        else:
            assert isinstance(bench, KafkaBench)
            opened.append(KafkaHistory(bench.settings))
        return opened[-1]

    yield open_history
    for history in opened:
        history.close()


def told(history: History, partition: int) -> list[tuple[bytes | None, bytes | None]]:
    first, end = history.bounds("forecasts", partition)
    batches = list(history.forecasts(partition, first, end))
    places = [place for batch in batches for place in batch.offsets.tolist()]
    assert places == sorted(set(places))
    return [pair for b in batches for pair in zip(b.keys, b.values, strict=True)]


def posted(history: History, partition: int) -> list[DeadLetter]:
    return list(history.dead_letters(partition, *history.bounds("dead_letters", partition)))


def test_nothing_is_there_at_first(reading: Open) -> None:
    history = reading()

    assert list(history.partitions()) == [0, 1]
    assert history.committed(0) is None
    assert (told(history, 0), posted(history, 0)) == ([], [])
    assert history.bounds("ticks", 1) == (0, 0)


def test_what_was_published_comes_back_in_order(reading: Open, log: Log) -> None:
    many, few = forecasts(0, 2_500), forecasts(1, 3)
    letters = [letter(p, 7, b"k", b"v") for p in (0, 1)]
    letters += [letter(0, 8, None, b"x"), letter(0, 9, b"k", None)]

    log.publish(Outbox([many, few], letters, {0: Committed(2_500, "n"), 1: Committed(9, "")}))
    history = reading()

    for column in (many, few):
        expected = list(zip(column.keys, column.values, strict=True))
        assert told(history, column.partition) == expected
    assert posted(history, 0) == [letters[0], *letters[2:]]
    assert posted(history, 1) == [letters[1]]
    assert history.committed(0) == Committed(2_500, "n")


def test_what_is_published_later_lies_beyond_the_bounds_of_before(reading: Open, log: Log) -> None:
    log.publish(Outbox([forecasts(0, 5)], [], {0: Committed(5, "")}))
    history = reading()
    first, end = history.bounds("forecasts", 0)

    log.publish(Outbox([forecasts(0, 5)], [], {0: Committed(10, "")}))

    assert sum(map(len, history.forecasts(0, first, end))) == 5
    assert len(told(history, 0)) == 10
    assert history.committed(0) == Committed(10, "")


def test_what_is_decided_can_be_read_without_waiting(reading: Open, log: Log) -> None:
    log.publish(Outbox([forecasts(0, 5)], [], {0: Committed(5, "")}))
    history = reading()

    decided = history.bounds("forecasts", 0)

    assert history.readable("forecasts", 0) == decided
    assert sum(map(len, history.forecasts(0, *decided))) == 5
    assert history.readable("ticks", 0) == history.bounds("ticks", 0)


def test_ticks_are_those_of_the_log(bench: Bench, reading: Open, log: Log) -> None:
    bench.feed(0, ticks(5))
    skipped = bench.gap(0)
    bench.feed(0, [*ticks(3, 5), (None, b"", 9_000, b"{}")])
    history = reading()
    assert history.bounds("ticks", 0) == (0, 9 + skipped)

    found = list(history.ticks(0, *history.bounds("ticks", 0)))

    assert [key for batch in found for key in batch.keys] == [*(t[0] for t in ticks(8)), None]
    offsets = [offset for batch in found for offset in batch.offsets.tolist()]
    assert offsets == sorted(set(offsets))
    assert (found[-1].controls or [])[-1] == b"{}"


def test_trimmed_ticks_are_refused(bench: Bench, reading: Open, log: Log) -> None:
    bench.feed(0, ticks(10))
    bench.trim(0, 4)
    history = reading()

    assert history.bounds("ticks", 0) == (4, 10)
    with pytest.raises(OffsetOutOfRange):
        list(history.ticks(0, 3, 10))


def test_a_history_takes_nothing_from_the_member(bench: Bench, reading: Open, log: Log) -> None:
    log.go(0, 0)
    history = reading()
    bench.feed(0, ticks(3))

    list(history.ticks(0, 0, 3))
    brought = [log.poll(1_000, 100) for _ in range(3)]

    assert sum(len(b) for poll in brought for b in poll.batches) == 3
    assert not [poll for poll in brought if poll.lost]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="there is no"):
        SqliteHistory(tmp_path / "slotcast.db")

    assert not list(tmp_path.iterdir())


def test_topics_that_are_not_there_are_not_made(kafka: Broker) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap, ticks="nowhere")
    history = KafkaHistory(settings)

    with pytest.raises(LogError, match="nowhere"):
        history.partitions()
    history.close()


def test_dead_letters_of_other_topics_and_partitions_are_not_ours(kafka: Broker) -> None:
    bench = KafkaBench(kafka, "exactly-once")
    shared = kafka.fresh_topic(1, "letters", message_timestamp_after_max_ms=str(2**63 - 1))
    bench.settings = bench.settings.model_copy(update={"dead_letters": shared})
    log = settled(bench.join())
    log.publish(Outbox([], [letter(0, 1, b"k", b"v"), letter(1, 2, b"k", b"v")]))
    others = bench.settings.model_copy(update={"ticks": kafka.fresh_topic(2), "group": "other"})

    ours, theirs = KafkaHistory(bench.settings), KafkaHistory(others)

    assert [one.offset for one in posted(ours, 1)] == [2]
    assert posted(theirs, 1) == []
    ours.close()
    theirs.close()
    bench.close()
