"""The image holds locked packages and slotcast, runs as somebody else, and knows its commands."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from slotcast.api.app import create_app
from slotcast.api.server import ApiServer
from slotcast.metrics import Metrics
from slotcast.settings import HttpSettings
from tests.deploy.files import ROOT, SERVICES, accepted_by, instructions
from tests.unit.fake_readings import FakeReadings, alone


def pins(name: str) -> dict[str, str]:
    """Package -> version of a lock file."""
    lines = (ROOT / f"requirements/{name}.txt").read_text().splitlines()
    found = (re.match(r"([a-z0-9._-]+)==(\S+)", line) for line in lines)
    return {line[1]: line[2] for line in found if line}


def test_the_image_is_built_on_one_pinned_slim_python_of_ours() -> None:
    build = instructions()
    (base,) = [arguments for name, arguments in build if name == "ARG"]
    bases = {arguments.split()[0] for name, arguments in build if name == "FROM"}

    assert bases == {"${PYTHON}"}
    assert re.fullmatch(r"PYTHON=python:3\.11\.\d+-slim-\w+", base)


def test_the_image_installs_locked_packages_and_no_tensorflow() -> None:
    run = " ".join(arguments for name, arguments in instructions() if name == "RUN")
    installs = [step for step in run.split("&&") if "requirements/" in step]

    assert len(installs) == 2
    assert all("--require-hashes" in step for step in installs)
    assert "tensorflow" not in pins("image")


def test_the_image_holds_what_the_tests_run_on_and_what_settings_may_choose() -> None:
    chosen = {"confluent-kafka", "fastavro"}

    assert pins("image").keys() - pins("serve").keys() == chosen
    assert pins("image").items() <= pins("dev").items()
    assert pins("serve").items() <= pins("image").items()


def test_the_image_copies_only_what_exists_and_is_not_ignored() -> None:
    copies = [words.split()[:-1] for name, words in instructions() if name == "COPY"]
    sources = [word for words in copies if "--from=build" not in words for word in words]
    allowed = [
        line[2:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:2] == "!/"
    ]

    assert sorted(sources) == sorted(allowed)
    missing = [source for source in sources if not (ROOT / source).exists()]
    assert not missing, f"the Dockerfile copies {missing}"


def test_the_image_ends_as_another_user_who_owns_the_warm_cache() -> None:
    build = instructions()
    names = [name for name, _ in build]
    user = dict(build)["USER"]

    assert names.index("USER") < build.index(("RUN", '["slotcast", "warm"]'))
    assert re.search(r"XDG_CACHE_HOME=/var/cache\b", dict(build)["ENV"])
    owned = f"--owner={user.split(':')[0]} --group={user.split(':')[1]} /var/cache/slotcast"
    assert any(owned in arguments for _, arguments in build)


@pytest.mark.parametrize(
    "command",
    [SERVICES["worker-0"]["command"], SERVICES["producer"]["command"], ["warm"]],
    ids=lambda command: command[0],
)
def test_every_command_that_a_container_runs_exists(command: list[str]) -> None:
    asked = [sys.executable, "-c", "from slotcast.cli import main; main()", command[0], "--help"]
    path = os.pathsep.join([str(ROOT / "service"), str(ROOT / "models")])
    answer = subprocess.run(
        asked,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": path},
    )

    assert answer.returncode == 0, answer.stderr
    assert [word for word in command if word[:2] == "--" and word not in answer.stdout] == []


def health_check(port: int) -> int:
    """The exit code of the image's own health check, asked of this port."""
    _, _, text = dict(instructions())["HEALTHCHECK"].partition("CMD ")
    python, *words = json.loads(text.replace(":8080/", f":{port}/"))
    assert python == "python"  # of the image's own environment, which is first in its PATH
    return subprocess.run([sys.executable, *words], capture_output=True, check=False).returncode


def test_the_health_check_of_the_image_finds_a_worker_that_answers_and_no_other() -> None:
    http = HttpSettings(port=0)
    app = create_app(FakeReadings(["A"]), Metrics(CollectorRegistry()), http, alone())
    with ApiServer(app, http) as server:
        healthy = health_check(server.port)
    gone = health_check(server.port)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hangs = health_check(silent.getsockname()[1])

    assert healthy == 0
    assert gone != 0
    assert hangs != 0


def test_hadolint_accepts_the_dockerfile() -> None:
    accepted_by("hadolint", "Dockerfile")
