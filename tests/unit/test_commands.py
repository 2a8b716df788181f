"""The command line teaches: every help shows how, and programs are answered in JSON."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer

from slotcast.cli import app
from tests.unit.doc_rows import commands

COMMANDS = dict(commands())
REPORTS = (
    "doctor", "topics create", "tail", "inspect", "export", "import", "reset", "verify", "derive",
    "offsets restore", "offsets begin", "bundle show", "backtest",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_parses(name: str) -> None:
    shown = COMMANDS[name].help.split("\n\n")
    examples = [
        shlex.split(match[0].split(" | ")[0], comments=True)[1:]
        for text in shown
        if (match := re.search(rf"{name}\b.*", " ".join(text.split()))) and ": slotcast" in text
    ]

    assert examples, f"{name}: say  Example: {name} ..."
    for example in examples:
        group: Any = typer.main.get_command(app)
        words = example
        with group.make_context("slotcast", list(words)) as context:
            while hasattr(group, "resolve_command"):
                _, group, words = group.resolve_command(context, words)
            group.make_context(name, words, parent=context)


@pytest.mark.parametrize("name", REPORTS)
def test_what_reports_can_be_read_by_programs(name: str) -> None:
    options = {option for p in COMMANDS[f"slotcast {name}"].params for option in p.opts}

    assert "--json" in options
