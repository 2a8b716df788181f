"""docs/keras-lstm-question.md is executed, block by block, and says what comes out.

Numbers may stand as `...` where they differ between machines.
"""

from __future__ import annotations

import contextlib
import doctest
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from slotcast.cli import app
from tests.servers import ROOT

PAGE = ROOT / "docs" / "keras-lstm-question.md"
FENCE = re.compile(r"(?ms)^```(pycon|console)\n(.*?)^```")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run_command(line: str) -> str:
    """What `slotcast ...` says."""
    return CliRunner().invoke(app, shlex.split(line)[1:]).output


def commands(block: str) -> list[tuple[str, str]]:
    """(command line, what the page says that it prints) of a console block."""
    parts = re.split(r"(?m)^\$ (.*)\n", block)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def faults_in(text: str) -> list[str]:
    """Execute every block of the page; what does not come out as it says."""
    names: dict[str, Any] = {}
    checker, found = doctest.OutputChecker(), list[str]()
    for match in FENCE.finditer(text):
        kind, block = match.groups()
        if kind == "pycon":
            test = doctest.DocTestParser().get_doctest(block, names, "page", str(PAGE), 0)
            runner = doctest.DocTestRunner(checker, optionflags=FLAGS)
            runner.run(test, out=found.append, clear_globs=False)
            names = test.globs
            continue
        for line, wanted in commands(block):
            said = run_command(line)
            if not checker.check_output(wanted, said, FLAGS):
                found.append(f"$ {line}\nwanted:\n{wanted}\ngot:\n{said}")
    return found


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_every_block_gives_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("slotcast_models.learner.one_thread", lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with contextlib.ExitStack() as stack:
        for number, action in before.items():
            stack.callback(signal.signal, number, action)

        faults = faults_in(PAGE.read_text(encoding="utf-8"))

    assert not faults, "\n".join(faults)


def test_pages_say_how_long_a_row_is_carried_in_training() -> None:
    from slotcast_models.training import Recipe

    for page in (PAGE, ROOT / "docs" / "training.md"):
        text = page.read_text(encoding="utf-8").replace("\n", " ")
        assert f" {Recipe().segment_ticks:,} ticks" in text, page.name


def test_the_page_names_tests_that_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    tests = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))

    named = set(re.findall(r"`(test_\w+)`", text))
    absent = [name for name in named if f"def {name}(" not in tests]

    assert not absent


def test_every_row_of_the_question_has_its_place_on_the_page_and_a_test() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"(?m)^## (.*)$", text)
    }
    table = text[text.index("| the question |") : text.index("\n\n## ")].splitlines()[2:]

    for row in table:
        asked, here, shown = row.strip("| ").split(" | ")
        assert set(re.findall(r"\(#([a-z0-9-]+)\)", here)) & headings, asked
        assert re.search(r"`test_\w+`", shown), asked
    assert len(table) == 18
