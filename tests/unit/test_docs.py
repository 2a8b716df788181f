"""The documentation says what the program does, and what it shows is what the program takes.

Reference tables hold one row for every setting, option, metric and reason, and no other: where one
is missing, the failure prints the row to put in; where one is too many, the row to take out.
Samples are read by the very types that they show.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer
from prometheus_client import CollectorRegistry

from slotcast.api import problems
from slotcast.api.app import create_app
from slotcast.cli import app
from slotcast.log.port import Batch
from slotcast.metrics import Metrics
from slotcast.records.controls import decode_control
from slotcast.records.forecasts import ForecastRecord
from slotcast.records.ticks import TickParser
from slotcast.settings import HttpSettings, Settings
from slotcast_models.bundle import Bundle
from slotcast_models.schema import TickSchema
from tests.servers import ROOT
from tests.tree import files
from tests.unit.doc_rows import REFERENCE, commands, sections
from tests.unit.fake_readings import FakeReadings, alone

PAGES = [str(path) for path in files() if path.suffix == ".md"]
FENCE = re.compile(r"(?ms)^```([^\n]*)\n(.*?)^```")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ENDS, VARIABLE = ("bucket", "sum", "count"), r"\bSLOTCAST_[A-Z]+__[A-Z_]+"
NO_VARIABLES = ("SLOTCAST_SECTION__", "SLOTCAST_SCHEMA__")  # how they are made; JSON of a list
BENCHMARK = re.compile(r"bench-([a-z-]+)")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    return FENCE.sub("", text(page))


def blocks(info: str, *pages: str) -> list[str]:
    """Fenced blocks whose first line says exactly this after the fence."""
    found = [match for page in pages or PAGES for match in FENCE.finditer(text(page))]
    return [match[2] for match in found if match[1] == info]


def shell_lines() -> Iterator[str]:
    """Lines of all blocks, without prompt; those that go on are one."""
    for page in PAGES:
        for match in FENCE.finditer(text(page)):
            for line in match[2].replace("\\\n", " ").splitlines():
                yield line.removeprefix("$ ").strip()


def inline_code() -> Iterator[str]:
    for page in PAGES:
        yield from (match[1] for match in INLINE.finditer(prose(page)))


def section_lines(page: str) -> dict[str, set[str]]:
    """Heading (and "" for the whole page) -> lines."""
    heading, lines = "", dict[str, set[str]]()
    for line in text(page).splitlines():
        heading = line if line.startswith("#") else heading
        lines.setdefault(heading, set()).add(line)
        lines.setdefault("", set()).add(line)
    return lines


@pytest.mark.parametrize("page", REFERENCE)
def test_reference_page_has_every_row(page: str) -> None:
    lines, heading, missing = section_lines(page), "", list[str]()
    for row in REFERENCE[page]():
        if row.startswith("## "):
            heading = row
        if row not in lines.get(heading, ()):
            missing.append(row)

    assert not missing, f"{page} lacks:\n" + "\n".join(missing)


def strays(page: str, rows: Sequence[str]) -> list[str]:
    """Lines of reference tables, and headings over them, that nothing stands behind any more.

    A reference table is one of which any row is known under its heading, or names a metric.
    """
    known, heading, found = known_rows(rows), "", list[str]()
    for part in re.findall(r"(?m)^#.*$|(?:^\|.*\n?)+", page):
        if part.startswith("#"):
            heading = part
            if re.match(r"## (slotcast|\[)", part) and part not in HEADINGS:
                found.append(part)
            continue
        lines, own = part.splitlines()[2:], known.get(heading, known[""])
        if any(line in own or METRIC.match(line) for line in lines):
            found += [line for line in lines if line not in own]
    return found


def known_rows(rows: Sequence[str]) -> dict[str, set[str]]:
    """Heading -> rows below it; those of no heading under ""."""
    heading, known = "", {"": set[str]()}
    for row in rows:
        heading = row if row.startswith("## ") else heading
        known.setdefault(heading, set()).add(row)
    return known


METRIC = re.compile(r"\| `(slotcast|process)_\w+` \|")
HEADINGS = {f"## {name}" for name in dict(commands())} | {f"## [{one}]" for one in sections()}
HEADINGS |= {"## [schema]"}


@pytest.mark.parametrize("page", REFERENCE)
def test_reference_page_has_no_row_of_what_is_gone(page: str) -> None:
    assert not strays(text(page), REFERENCE[page]())


HEAD, X, Y = "\n\n| | | |\n|---|---|---|\n", "| `--x` | - | X. |", "| `--y` | - | Y. |"
ROWS = ["## slotcast tail", X, "## slotcast serve", Y]
GONE = {
    "an option": f"## slotcast tail{HEAD}{X}\n| `--gone` | - | Gone. |\n",
    "one of another command": f"## slotcast tail{HEAD}{X}\n{Y}\n",
    "a command": f"## slotcast gone{HEAD}",
    "a section": f"## [gone]{HEAD}",
    "a metric": f"## Log{HEAD}| `slotcast_gone` | gauge |  | Gone. |\n",
}


@pytest.mark.parametrize("what", GONE)
def test_a_row_of_what_is_gone_is_seen(what: str) -> None:
    assert strays(GONE[what], ROWS)


def test_a_table_of_something_else_is_left_alone() -> None:
    assert not strays(f"## slotcast tail{HEAD}{X}\n\n| what{HEAD}| `--z` | else |\n", ROWS)


def test_metrics_and_variables_in_sentences_exist() -> None:
    families = [row.split("`")[1] for row in REFERENCE["docs/metrics.md"]()]
    metrics = {one for name in families for one in (name, *(f"{name}_{e}" for e in ENDS))}
    rows = "".join(REFERENCE["docs/configuration.md"]())
    variables = set(re.findall(VARIABLE, rows))
    named = {word for page in PAGES for word in re.findall(r"\bslotcast_[a-z_]+\b", text(page))}
    told = {word for page in PAGES for word in re.findall(VARIABLE, text(page))}

    assert named - metrics <= {"slotcast_models"}
    assert {one for one in told if not one.startswith(NO_VARIABLES)} <= variables


def test_settings_in_sentences_exist() -> None:
    known = {
        f"{section}.{name}" for section, model in sections().items() for name in model.model_fields
    }
    ends = ("py", "md", "toml", "json", "yml", "lua", "avsc")
    named = {
        code
        for said in inline_code()
        for code in re.findall(rf"^(?:{'|'.join(sections())})\.[a-z_0-9]+", said)
        if code.rpartition(".")[2] not in ends
    }

    assert len(named) > 20
    assert not named - known


def test_numbers_of_the_comparison_are_those_of_the_pages() -> None:
    lines = text("README.md").split("## What is different")[1].split("\n##")[0].splitlines()
    cells = [" ".join(line.split("|")[2:]) for line in lines if line.startswith("| ")][1:]
    numbers = {one for cell in cells for one in re.findall(r"-?\d[\d,]*\.?\d+|-\d+", cell)}
    told = text("docs/performance.md") + text("docs/forecasting.md")

    assert len(numbers) > 15
    assert not {one for one in numbers if not re.search(rf"(?<![\d,.]){one}(?![\d])", told)}


def test_rest_page_names_every_path_and_problem() -> None:
    api = create_app(FakeReadings(["a"]), Metrics(CollectorRegistry()), HttpSettings(), alone())
    paths = api.openapi()["paths"]
    wanted = [f"`{method.upper()} {path}" for path in paths for method in paths[path]]
    wanted += [f"| `{kind.name}` | {kind.status} |" for kind in problems.KINDS]
    page = text("docs/rest.md")
    named = re.findall(r"`[A-Z]+ /[^?`\s]*", "\n".join(re.findall(r"(?m)^\|.*", page)))
    named += re.findall(r"(?m)^\| `[a-z-]+` \| \d{3} \|", page)

    assert len(paths) > 5
    assert not [one for one in wanted if one not in page]
    assert not [one for one in named if one not in wanted]


COMMAND_LINES = sorted({line for line in shell_lines() if line.startswith("slotcast ")})


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_command_line_in_a_block_parses(line: str) -> None:
    group = typer.main.get_command(app)
    name, words = "slotcast", shlex.split(line, comments=True)[1:]
    with group.make_context(name, list(words)) as context:
        while hasattr(group, "resolve_command"):
            name, group, words = group.resolve_command(context, words)

        group.make_context(name, words, parent=context)


def test_commands_in_sentences_exist() -> None:
    known = dict(commands())
    wrong = []
    for code in inline_code():
        match = re.match(r"slotcast( [a-z][a-z ]*[a-z])", code)
        if match is None:
            continue
        words = match[0].split()
        name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), "")
        options = {o for p in known[name].params for o in p.opts} if name else set()
        if not name or set(re.findall(r"--[a-z-]+", code)) - options - {"--help"}:
            wrong.append(code)

    assert not wrong


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", text("Makefile")))
    named = {
        word
        for line in [*shell_lines(), *inline_code()]
        if re.match(r"make [a-z]", line)
        for word in shlex.split(line, comments=True)[1:]
        if re.fullmatch(r"[a-z-]+", word)
    }
    benchmarks = {match[1] for word in named if (match := BENCHMARK.fullmatch(word))}
    made = {path.stem.replace("_", "-") for path in files("benchmarks")}

    assert {"demo", "test"} <= named
    assert not {word for word in named if not BENCHMARK.fullmatch(word)} - targets
    assert not benchmarks - made


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(link)

    assert not broken


def _anchors(path: Path) -> set[str]:
    """Anchors as code forges make them of headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("sample", blocks("toml"))
def test_configuration_sample_loads(
    sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in os.environ:
        if name.startswith("SLOTCAST_"):
            monkeypatch.delenv(name)
    for named in re.findall(r'"(/[^"]+)"', sample):  # files that are there on the reader's machine
        there = tmp_path / Path(named).name
        there.write_text("secret\n", encoding="utf-8")
        sample = sample.replace(named, str(there))
    path = tmp_path / "slotcast.toml"
    path.write_text(sample, encoding="utf-8")

    Settings.load(path)


@pytest.mark.parametrize("sample", blocks("python"))
def test_python_sample_compiles(sample: str) -> None:
    compile(sample, "sample", "exec")


@pytest.mark.parametrize("sample", blocks("json forecast"))
def test_forecast_sample_is_a_forecast_record(sample: str) -> None:
    record = msgspec.json.decode(sample, type=ForecastRecord)

    assert msgspec.json.decode(msgspec.json.encode(record)) == json.loads(sample)
    for target in record.targets.values():
        assert len(target.lower) == len(target.upper) == len(record.levels)


def test_identities_in_the_pages_are_those_of_the_bundle_that_ships() -> None:
    job = text("README.md").split("## The real job")[1]
    (sample,) = [match[2] for match in FENCE.finditer(job) if match[1] == "toml"]
    schema = TickSchema.model_validate(tomllib.loads(sample)["schema"])
    without_gaps = schema.model_copy(update={"max_gap_ms": None})
    known = {Bundle.load().bind(one).identity for one in (schema, without_gaps)}
    named = {one for page in PAGES for one in re.findall(r"\bdefault-[0-9a-f]{12}\b", text(page))}

    assert named == known


def test_tick_samples_are_ticks(tmp_path: Path) -> None:
    (schema,) = blocks("toml", "docs/records.md")
    path = tmp_path / "slotcast.toml"
    path.write_text(schema, encoding="utf-8")
    ticks = [tick.encode() for tick in blocks("json tick", "docs/records.md")]
    n = len(ticks)
    batch = Batch(0, np.arange(n), np.full(n, 2**62), [None] * n, ticks)

    parsed = TickParser(Settings.load(path).tick_schema).parse(batch)

    assert n > 0
    assert not parsed.rejects


@pytest.mark.parametrize("sample", blocks("json control"))
def test_control_sample_is_a_control_record(sample: str) -> None:
    assert decode_control(sample.encode()) is not None


def test_architecture_page_places_every_module() -> None:
    roots = ("models/slotcast_models", "service/slotcast")
    modules = [
        str(path.relative_to(root))
        for root in roots
        for path in files(root)
        if path.suffix == ".py" and path.name != "__init__.py"
    ]
    page = text("docs/architecture.md")

    assert not [module for module in modules if f"`{module}`" not in page]
    assert not set(re.findall(r"`([\w/]+\.py)`", page)) - set(modules)
