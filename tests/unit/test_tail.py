"""New forecasts of a log: each once, in order, whatever retention and other writers do."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from slotcast.commands.tail import _records
from slotcast.formats.choice import format_of
from slotcast.log.memory.history import MemoryHistory
from slotcast.log.port import Batch
from slotcast.tail import Tail, interval, line
from slotcast.terminal.tail_table import ROWS, TailTable
from slotcast_models.schema import RecordFormat
from tests.formats import every_format, in_format
from tests.simulation.world import SCHEMA, World, write_event


def tick(i: int, name: str | None = None) -> tuple[Any, ...]:
    return ("tick", i % 2, name or f"I{i % 4}", 1_000 * i, 10.0 + i % 7, 1, i)


def world(form: RecordFormat = "json", ticks: int = 40) -> World:
    made = World([tick(i) for i in range(ticks)], 2, schema=in_format(SCHEMA, form))
    made.run()
    return made


def tail(of: World, *instruments: str, **options: Any) -> Tail:
    history = MemoryHistory(of.broker)
    return Tail(history, format_of(of.schema), history.partitions(), instruments, **options)


def places(records: list[Any]) -> list[tuple[int, int]]:
    return [(r["tick"]["partition"], r["tick"]["offset"]) for r in records]


@every_format
def test_from_the_beginning_all_of_them_come_once(form: RecordFormat) -> None:
    one = tail(world(form), from_beginning=True)

    assert places(list(one.take())) == [(p, offset) for p in (0, 1) for offset in range(20)]
    assert list(one.take()) == []


def test_without_it_only_what_comes_from_now_on() -> None:
    of = world()
    one = tail(of)
    before = list(one.take())
    for i in range(40, 46):
        write_event(of.broker, tick(i))
    of.run()

    assert before == []
    assert places(list(one.take())) == [(p, offset) for p in (0, 1) for offset in (20, 21, 22)]
    assert list(one.take()) == []


def test_instruments_are_chosen_by_their_whole_name() -> None:
    found = list(tail(world(), "I1", "I", from_beginning=True).take())

    assert {record["instrument"] for record in found} == {"I1"}
    assert len(found) == 10


class Scanned(MemoryHistory):
    """Gives one forecast at a time, and Ctrl-C is pressed at the third."""

    def __init__(self, of: World, stop: threading.Event) -> None:
        super().__init__(of.broker)
        self.stop, self.given = stop, 0

    def forecasts(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        for position in range(start, stop):
            self.given += 1
            if self.given == 3:
                self.stop.set()
            yield from super().forecasts(partition, position, position + 1)


def test_ctrl_c_is_heard_while_nothing_that_is_read_is_wanted() -> None:
    of, stop = world(), threading.Event()
    history = Scanned(of, stop)
    one = Tail(history, format_of(of.schema), [0, 1], ["nobody"], from_beginning=True)

    found = list(_records(one, stop, None))

    assert [record for record in found if record] == []
    assert history.given <= 4  # and no partition is begun


def test_what_retention_has_removed_is_skipped() -> None:
    of = world()
    history = MemoryHistory(of.broker)
    one = Tail(history, format_of(of.schema), [0], from_beginning=True)
    history.trimmed = {("forecasts", 0): 15}

    assert [offset for _, offset in places(list(one.take()))] == list(range(15, 20))


def test_what_is_no_forecast_is_passed_over() -> None:
    of = world()
    topic = of.broker.forecasts[0]
    for place, other in enumerate((b"{", b"{}", b"[1]", b'{"instrument": "I1"}', b"null")):
        topic[place] = topic[place]._replace(value=other)

    assert len(list(tail(of, from_beginning=True).take())) == 35


def test_a_topic_that_was_made_anew_is_read_anew() -> None:
    of = world()
    one = tail(of)
    del of.broker.forecasts[0][5:]

    assert [offset for p, offset in places(list(one.take())) if p == 0] == list(range(5))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([0.5, 0.9, 0.99], (1, 9)), ([0.5, 0.8], (1, 9)), ([0.95, 0.99], (0, 10))],
)
def test_the_interval_is_the_widest_up_to_90_percent(
    levels: list[float], expected: tuple[int, int]
) -> None:
    ends = {"lower": [0, 1, 2], "upper": [10, 9, 8]}

    assert interval({"levels": levels}, ends) == expected


def test_a_line_and_a_table_say_what_is_forecast() -> None:
    record = next(iter(tail(world(), from_beginning=True).take()))
    table, out = TailTable(), io.StringIO()

    table.add(record)
    Console(file=out, width=120).print(table.render())

    value = f"{record['targets']['price']['value']:.6g}"
    assert line(record).startswith(f"{record['ts']} {record['instrument']}: price {value} -> ")
    assert f"{record['instrument']} " in out.getvalue()
    assert value in out.getvalue()


def test_the_table_shows_who_ticked_last() -> None:
    record = next(iter(tail(world(), from_beginning=True).take()))
    table, out = TailTable(), io.StringIO()

    for i in [*range(ROWS + 5), 3]:
        table.add(record | {"instrument": f"name-{i:02}"})
    Console(file=out, width=120).print(table.render())

    assert f"{ROWS + 6} forecasts" in out.getvalue()
    shown = [text.split()[0] for text in out.getvalue().splitlines() if "name-" in text]
    assert shown == ["name-03", *(f"name-{i:02}" for i in range(6, ROWS + 5))]


@pytest.mark.parametrize("name", ["[/]", "[red]pump", ":smile:", "a\x1b]0;title\x07", "b\nc"])
def test_a_name_is_no_markup_and_no_terminal_obeys_it(name: str) -> None:
    record = next(iter(tail(world(), from_beginning=True).take())) | {"instrument": name}
    table, out = TailTable(), io.StringIO()

    table.add(record)
    Console(file=out, width=120).print(table.render())

    shown = name.replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("\n", "\\n")
    assert f"{shown} " in out.getvalue()
    assert line(record).startswith(f"{record['ts']} {shown}: ")
