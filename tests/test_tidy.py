"""The house style, where it can be counted: names, sizes, docstrings, nothing of one machine."""

from __future__ import annotations

import ast
import re

from tests.servers import ROOT
from tests.tree import files

EMPTY_NAMES = frozenset(
    {"base", "common", "context", "data", "handler", "handlers", "helper", "helpers"}
    | {"manager", "misc", "process", "processor", "state", "util", "utils"}
)
MOST_LINES = 400
MACHINE_PATH = re.compile(r"(?<![\w.$})-])/(?:home|root|tmp|Users|work)/\w")
NAMESPACE = "http://maven.apache.org/POM/4.0.0"


def test_module_names_say_what_is_inside() -> None:
    named = [path for path in files("models", "service") if path.suffix == ".py"]
    vague = [path for path in named if EMPTY_NAMES & {*path.parts[:-1], *path.stem.split("_")}]

    assert not vague, f"name these after what they hold: {vague}"


def test_modules_fit_in_the_head() -> None:
    lines = {path: len(_text(path).splitlines()) for path in files("models", "service")}
    long = {p: n for p, n in lines.items() if p.suffix == ".py" and n > MOST_LINES}

    assert not long, f"split what is longer than {MOST_LINES} lines: {long}"


def test_every_module_says_what_it_is() -> None:
    modules = [p for p in files("models", "service", "benchmarks", "scripts") if p.suffix == ".py"]
    silent = [path for path in modules if not ast.get_docstring(ast.parse(_text(path)))]

    assert modules
    assert not silent, f"modules without a docstring: {silent}"


def test_set_up_names_no_hosts() -> None:
    set_up = files("Makefile", "pyproject.toml", "requirements", "scripts", "tests/kafka", ".ci")
    hosts = [path for path in set_up if "://" in _text(path).replace(NAMESPACE, "")]

    assert len(set_up) > 5
    assert not hosts, f"registries are the machine's own affair: {hosts}"


def test_no_path_of_one_machine() -> None:
    found = [
        f"{path}: {line.strip()}"
        for path in files()
        for line in _text(path).splitlines()
        if MACHINE_PATH.search(line)
    ]

    assert not found, "paths that exist on one machine only:\n" + "\n".join(found)


def test_lock_files_agree() -> None:
    locks = [_versions("build"), _versions("serve")]
    dev = _versions("dev")
    astray = {
        name: (versions, dev[name])
        for lock in locks
        for name, versions in lock.items()
        if name in dev and dev[name] != versions
    }

    assert not astray, f"run  make lock: requirements disagree on {astray}"


def _text(path: object) -> str:
    return (ROOT / str(path)).read_bytes().decode("utf-8", errors="replace")


def _versions(lock: str) -> dict[str, set[str]]:
    """Package -> its pinned versions (more than one where they depend on the Python version)."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", _text(f"requirements/{lock}.txt")):
        versions.setdefault(name, set()).add(version)
    return versions
