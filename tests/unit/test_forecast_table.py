"""Tables of forecasts: as wide as the terminal, and never a number cut."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from slotcast import bundle_facts
from slotcast.backtest.report import parts
from slotcast.snapshots.facts import COLUMNS as OF_A_SNAPSHOT
from slotcast.terminal.forecast_table import Column, ForecastTable, number, share, span
from slotcast.terminal.live_table import COLUMNS as OF_A_RUN
from slotcast.terminal.live_table import MEANING
from slotcast.terminal.tail_table import COLUMNS as OF_TAIL

LINE = (
    *("NZDUSD.OANDA bid", "14,398", "0.866267", "0.866271"),
    *("0.866268", "0.866250..0.866291", "model", "-12.4%"),
)


def printed(columns: tuple[Column, ...], width: int, lines: int = 3, **options: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=options.get("height"))
    console._force_terminal = "height" in options
    console.print(ForecastTable(columns, [LINE] * lines, most=10, below=options.get("below", 0)))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("columns", [OF_A_RUN, OF_TAIL, OF_A_SNAPSHOT])
@given(width=st.integers(60, 200))
def test_a_table_keeps_to_its_width_and_cuts_no_number(
    columns: tuple[Column, ...], width: int
) -> None:
    lines = printed(columns, width)

    assert max(map(len, lines)) <= width
    due = [one for one, column in zip(LINE, columns, strict=True) if not column.leave][1:]
    assert not [one for one in due if one not in lines[2]]


def test_columns_are_left_out_in_their_order() -> None:
    heads = [printed(OF_A_RUN, width)[0].split() for width in (100, 84, 74, 60)]

    gone = [set(wide) - set(narrow) for wide, narrow in pairwise(heads)]
    assert gone == [{"expected"}, {"ticks"}, {"90", "%", "interval"}]


def test_a_low_terminal_shows_fewer_lines() -> None:
    assert len(printed(OF_A_RUN, 120, lines=30)) == 2 + 10
    assert len(printed(OF_A_RUN, 120, lines=30, height=12, below=4)) == 2 + 5


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        (15.8712, 15.9834, "15.87..15.98"),
        (0.8662503, 0.8662912, "0.866250..0.866291"),
        (273.91, 277.8, "273.9..277.8"),
        (1_307.51, 1_307.62, "1307.51..1307.62"),
        (976_400.4, 3_226_000.0, "976,400..3,226,000"),
        (1.5, 1.5, "1.5..1.5"),
        (1e15, 2e15, "1e+15..2e+15"),
    ],
)
def test_an_interval_has_the_digits_that_tell_its_ends_apart(
    lower: float, upper: float, said: str
) -> None:
    assert span(lower, upper) == said


@given(st.floats(-1e11, 1e11), st.floats(1e-6, 1e11))
def test_the_ends_of_an_interval_look_different(lower: float, width: float) -> None:
    low, high = span(lower, lower + width).split("..")

    assert low != high or width < 1e-5 * abs(lower)


def test_numbers_are_short_and_plain() -> None:
    assert [number(one) for one in (None, 0.8662712, 2_170_723.0, -3.1e13)] == [
        "-",
        "0.866271",
        "2,170,723",
        "-3.1e+13",
    ]
    assert [share(one) for one in (None, 0.1234, -0.0001)] == ["-", "12.3%", "0.0%"]


@given(st.lists(st.text("x", max_size=12), min_size=2, max_size=12), st.integers(30, 160))
def test_a_wide_table_of_a_backtest_becomes_several(columns: list[str], room: int) -> None:
    found = parts(columns, [["1.234"] * len(columns)], room)

    assert [i for part in found for i in part[1:]] == list(range(1, len(columns)))
    widths = [max(len(column), 5) + 3 for column in columns]
    assert all(1 + sum(widths[i] for i in part) <= room or len(part) == 2 for part in found)


@pytest.mark.parametrize("width", [60, 80])
def test_a_digest_is_shown_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(bundle_facts, "open_console", lambda: Console(file=out, width=width))
    bundle_facts.print_facts({"sha256": "0123456789abcdef" * 4})

    assert "".join(re.findall(r"[0-9a-f]{6,}", out.getvalue().replace("sha256", "")))[-64:] == (
        "0123456789abcdef" * 4
    )


def test_what_the_columns_mean_fits_any_terminal() -> None:
    assert max(map(len, MEANING)) < 80
