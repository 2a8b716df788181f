"""Workers and commands with every kind of secret: they work, and nothing that they say has one.

The secrets come as they do in a deployment: some from the environment, some from files.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx
import pytest

from slotcast.settings import KafkaSettings
from tests.contract.kafka_logs import CLIENTS
from tests.secured import (
    KEY_PASSWORD,
    PASSWORD,
    USER,
    SecuredKafka,
    SecuredRedis,
    allow,
    secured_kafka,
    secured_redis,
    worker_rights,
)
from tests.servers import PATIENCE_S

TOKEN, WRONG = "t0ken of nobody else", "hunter2 hunter2"
SECRETS = (PASSWORD, KEY_PASSWORD, TOKEN, WRONG)
PATHS = ["/", "/summary", "/workers", "/instruments", "/metrics", "/health", "/openapi.json", "/no"]
COMMANDS = [["doctor"], ["doctor", "--json"], ["bundle", "show"]]


class Servers(NamedTuple):
    kafka: SecuredKafka
    redis: SecuredRedis


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with (
        secured_kafka(tmp_path_factory.mktemp("kafka")) as kafka,
        secured_redis(tmp_path_factory.mktemp("redis")) as redis,
    ):
        yield Servers(kafka, redis)


@pytest.fixture
def config(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Path:
    """Settings without a secret in them."""
    for name, secret in {"redis": PASSWORD, "token": TOKEN, "key": KEY_PASSWORD}.items():
        (tmp_path / name).write_text(f"{secret}\n")
    kafka, redis, name = servers.kafka, servers.redis, f"s-{uuid.uuid4().hex[:8]}"
    path = tmp_path / "slotcast.toml"
    path.write_text(
        f"""
[kafka]
client = "{getattr(request, "param", CLIENTS[0])}"
bootstrap_servers = "{kafka.sasl_ssl}"
group = "{name}"
ticks = "{name}"
forecasts = "{name}-forecasts"
dead_letters = "{name}-dead-letters"
partitions = 2
security_protocol = "SASL_SSL"
username = "{USER}"
ca_file = "{kafka.authority.file}"
certificate_file = "{kafka.locked.file}"
key_file = "{kafka.locked.key}"
key_password_file = "{tmp_path / "key"}"
[store]
redis_url = "{redis.tls_url}"
ca_file = "{redis.authority.file}"
username = "{USER}"
password_file = "{tmp_path / "redis"}"
[http]
port = 0
token_file = "{tmp_path / "token"}"
"""
    )
    topics = {"forecasts": f"{name}-forecasts", "dead_letters": f"{name}-dead-letters"}
    allow(kafka.plain, worker_rights(KafkaSettings(group=name, ticks=name, **topics)))
    return path


def environment(password: str = PASSWORD, **more: str) -> dict[str, str]:
    return os.environ | {"SLOTCAST_KAFKA__PASSWORD": password, "PYTHONUNBUFFERED": "1"} | more


def run(config: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slotcast.cli", *arguments, "--config", str(config)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=environment(**changes),
    )


@contextmanager
def serving(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "slotcast.cli", "serve", "--verbose", "--config", str(config)]
    with log.open("wb") as out:
        worker = subprocess.Popen(command, stdout=out, stderr=out, env=environment())
        try:
            yield worker
        finally:
            worker.kill()
            worker.wait()


def has_no_secret(said: str) -> None:
    for secret in SECRETS:
        assert secret not in said
        assert quote(secret) not in said


def found(log: Path, process: subprocess.Popen[bytes], pattern: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while not (match := re.search(pattern, log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return match[1]


def until_stepped(client: httpx.Client, ticks: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while client.get("/summary").json()["ticks"] < ticks:
        assert time.monotonic() < deadline, client.get("/health").text
        time.sleep(0.05)


@pytest.mark.parametrize("config", CLIENTS, indirect=True)
def test_a_worker_works_with_every_secret_and_tells_none(config: Path) -> None:
    log = config.with_name("serve.log")
    said = [run(config, "simulate", "--ticks", "200", "--rate", "100000")]
    with ExitStack() as opened:
        worker = opened.enter_context(serving(config, log))
        url = found(log, worker, r"serving on (http://\S+)")
        client = opened.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=30))
        until_stepped(client, 200)
        answers = [client.get(path) for path in PATHS]
        for token in (WRONG, TOKEN):
            bearer = {"Authorization": f"Bearer {token}"}
            answers.append(client.post("/reset", json={"all": True}, headers=bearer))
        said += [run(config, *words) for words in COMMANDS]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0

    assert [one.returncode for one in said] == [0] * len(said), [one.stderr for one in said]
    assert [answer.status_code for answer in answers[-2:]] == [401, 200]
    assert answers[-1].json()["committed"] is True
    for answer in answers:
        has_no_secret(answer.text + repr(answer.headers))
    for one in said:
        has_no_secret(one.stdout + one.stderr)
    has_no_secret(log.read_text())


@pytest.mark.parametrize("words", [["serve"], ["simulate", "--ticks", "1"], ["doctor"]])
def test_a_wrong_password_ends_commands_with_the_way_out(config: Path, words: list[str]) -> None:
    done = run(config, *words, password=WRONG, SLOTCAST_KAFKA__DELIVERY_TIMEOUT_MS="3000")
    said = done.stdout + done.stderr

    assert done.returncode == 1
    assert "check kafka.username, kafka.password" in said
    assert "Traceback" not in said
    has_no_secret(said)


def test_a_setting_that_is_wrong_is_not_repeated(config: Path) -> None:
    wrong = {
        "SLOTCAST_KAFKA__PASSWORT": WRONG,
        "SLOTCAST_HTTP__TOKEN": WRONG,  # beside token_file
        "SLOTCAST_STORE__REDIS_URL_FILE": "/nowhere",
    }
    done = run(config, "serve", **wrong)

    assert done.returncode == 1
    assert "passwort" in done.stderr
    assert "token and token_file are both set" in done.stderr
    has_no_secret(done.stdout + done.stderr)
