"""What a terminal shows of names and messages: text as it is."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from slotcast import demo
from slotcast.feeds.feed import FeedLog
from slotcast.settings import Settings
from slotcast.terminal.live_table import live_table
from slotcast.terminal.text import open_console, printable
from tests.unit.fake_readings import FakeReadings


class Idle:
    """A feed of nothing."""

    title, total, stay, fed, resumed = "nothing", None, False, 0, False

    def run(self, log: FeedLog, lag: Callable[[], int], stop: threading.Event) -> None: ...


@pytest.mark.parametrize("name", ["[/]", "[bold]pump", "a :warning: b", "\x1b[2J"])
def test_names_in_the_table_of_a_run_are_text(name: str) -> None:
    out = io.StringIO()

    Console(file=out, width=160).print(live_table(FakeReadings([name]), Idle()))

    assert f"{printable(name)} " in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_letters_of_any_script_are_printable() -> None:
    assert printable("Größe 日経平均 π") == "Größe 日経平均 π"
    assert printable("\u202egnp.exe") == "\\u202egnp.exe"


def test_a_run_that_cannot_start_says_all_of_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("choose another with --port, or host and port in [http]")

    monkeypatch.setattr(demo, "embedded", refuse)
    code = demo.run_embedded(Settings(), tmp_path, Idle(), threading.Event())

    assert code == 1
    assert "host and port in [http]" in " ".join(capsys.readouterr().out.split())


def test_a_console_takes_brackets_for_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    open_console(width=80).print("[/] [schema] :smile:")

    assert capsys.readouterr().out == "[/] [schema] :smile:\n"
