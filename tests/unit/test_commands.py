"""The command line teaches: every help shows how, and programs are answered in JSON."""

from __future__ import annotations

import math
import re
import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

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


NUMBERS = {
    f"{name} {parameter.opts[0]}": parameter
    for name, command in COMMANDS.items()
    for parameter in command.params
    if parameter.type_descriptor.annotation in (int, float)
}


@pytest.mark.parametrize("option", NUMBERS)
def test_every_number_has_a_least_one_and_is_one(option: str) -> None:
    parameter = NUMBERS[option]

    assert parameter.min is not None
    if parameter.type_descriptor.annotation is float:
        for number in (math.nan, math.inf):
            with pytest.raises(typer.BadParameter, match="no finite number"):
                parameter.callback(None, parameter, number)


@pytest.mark.parametrize(
    "words",
    [
        "topics create --retention-hours 0",  # which deletes everything at once
        "topics create --retention-hours 1e12",
        "simulate --rate 0",  # which sends nothing, for ever
        "simulate --rate nan",
        "demo --rate inf",
        "replay x.csv --speed 0",
        "reset A --wait-s -1",
        "inspect --limit -1",
        "derive 0 -- -1",
        "offsets restore --origin -1",
        "train --from x --out y --rate 0",
        "train --from x --out y --epochs 0",
        "train --from x --out y --validation 1.5",
    ],
)
def test_a_number_that_makes_no_sense_is_refused_before_anything_is_done(words: str) -> None:
    done = CliRunner().invoke(app, shlex.split(words))

    assert done.exit_code == 2
    assert "Invalid value" in done.output


@pytest.mark.parametrize("name", REPORTS)
def test_what_reports_can_be_read_by_programs(name: str) -> None:
    options = {option for p in COMMANDS[f"slotcast {name}"].params for option in p.opts}

    assert "--json" in options
