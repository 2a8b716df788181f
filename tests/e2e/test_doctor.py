"""`slotcast doctor` and `slotcast topics create` on real servers: what is wrong has its line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client
from kafka import TopicPartition
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)
from kafka.structs import OffsetAndMetadata
from typer.testing import CliRunner

from slotcast.checks.finding import skew
from slotcast.cli import app
from slotcast.commands import topics
from slotcast.log.kafka.setup import TopicReport
from slotcast.partition import CommitNote
from tests.contract.test_kafka_rights import broker as checking_broker
from tests.secured import create_acls
from tests.servers import Broker, RedisServer

__all__ = ["checking_broker"]  # a fixture
Configure = Callable[..., Path]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis whose settings may be changed."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def configure(kafka: Broker, redis: RedisServer, redis_prefix: str, tmp_path: Path) -> Configure:
    def write(*more: str, bootstrap: str = kafka.bootstrap, url: str = redis.url) -> Path:
        config = tmp_path / "slotcast.toml"
        kafka_lines = [line for line in more if not line.startswith("[")]
        sections = [line for line in more if line.startswith("[")]
        config.write_text(
            "\n".join(
                [
                    "[kafka]",
                    f'bootstrap_servers = "{bootstrap}"',
                    f'group = "{redis_prefix}"',
                    f'ticks = "{redis_prefix}-ticks"',
                    f'forecasts = "{redis_prefix}-forecasts"',
                    f'dead_letters = "{redis_prefix}-dead"',
                    *kafka_lines,
                    "[store]",
                    f'redis_url = "{url}"',
                    *sections,
                ]
            )
        )
        return config

    return write


def command(*arguments: str) -> Any:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def checked(config: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and the worst verdict with its remedy by check."""
    done = command("doctor", "--config", str(config), "--json")
    found: dict[str, tuple[str, str]] = {}
    for one in json.loads(done.stdout)["checks"]:
        if one["check"] not in found or one["verdict"] != "OK":
            found[one["check"]] = one["verdict"], one["remedy"]
        assert bool(one["remedy"]) == (one["verdict"] != "OK"), one
    return done.exit_code, found


def verdicts(found: dict[str, tuple[str, str]], verdict: str) -> list[str]:
    return [check for check, (told, _) in found.items() if told == verdict]


def test_all_is_well_once_the_topics_are_there(configure: Configure) -> None:
    config = configure()

    before, early = checked(config)
    created = command("topics", "create", "--config", str(config))
    after, late = checked(config)
    shown = command("doctor", "--config", str(config))

    assert (before, created.exit_code, after, shown.exit_code) == (0, 0, 0, 0)
    assert verdicts(early, "WARN")[:3] == [
        f"topic of {role}" for role in ("ticks", "forecasts", "dead letters")
    ]
    assert early["topic of ticks"][1] == "slotcast topics create"
    assert verdicts(late, "WARN") == ["redis persistence"]
    assert {"broker", "broker clock", "rights", "redis clock", "committed memory"} <= late.keys()
    lines = shown.stdout.splitlines()
    assert all(line[:4] in ("OK  ", "WARN") for line in lines)
    assert len(lines) >= len(late)


def test_servers_that_do_not_answer_fail_and_say_what_to_set(configure: Configure) -> None:
    config = configure(
        "delivery_timeout_ms = 1000", bootstrap="127.0.0.1:1", url="redis://127.0.0.1:1/0"
    )

    code, found = checked(config)

    assert code == 1
    assert verdicts(found, "FAIL") == ["broker", "redis"]
    assert "kafka.bootstrap_servers" in found["broker"][1]
    assert "store.redis_url" in found["redis"][1]


def make(config: Path, **wanted: dict[str, Any]) -> None:
    """Topics by the end of their name."""
    settings = dict(
        line.split(" = ", 1) for line in config.read_text().splitlines() if " = " in line
    )
    text = {name: json.loads(value) for name, value in settings.items()}
    with KafkaAdminClient(bootstrap_servers=text["bootstrap_servers"]) as admin:
        for name, how in wanted.items():
            admin.create_topics({text[name]: {"replication_factor": 1} | how})


def test_topics_that_cannot_work_fail(configure: Configure) -> None:
    config = configure("create_topics = false")
    compacted = {"num_partitions": 3, "configs": {"cleanup.policy": "compact"}}
    make(config, ticks=compacted, forecasts={"num_partitions": 2})

    code, found = checked(config)
    created = command("topics", "create", "--config", str(config), "--json")

    assert code == 1
    assert verdicts(found, "FAIL") == [
        f"topic of {role}" for role in ("ticks", "forecasts", "dead letters")
    ]
    assert "--alter --partitions 3" in found["topic of forecasts"][1]
    assert created.exit_code == 1
    told = json.loads(created.stdout)
    musts = {t["role"]: [d["what"] for d in t["differs"] if d["must"]] for t in told["topics"]}
    assert musts == {"ticks": ["cleanup.policy"], "forecasts": ["partitions"], "dead letters": []}
    assert [t["created"] for t in told["topics"]] == [False, False, True]
    assert told["topics"][2]["partitions"] == 3, "as many as the tick topic has"


def test_what_has_no_limit_is_kept_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    topics._print(TopicReport("ticks", "ticks", False, 2, 1, "delete", -1))

    assert capsys.readouterr().out == (
        "ticks: ticks is there, 2 partitions, replication 1, kept for ever\n"
    )


def test_creating_again_changes_nothing_and_tells_what_differs(configure: Configure) -> None:
    at = ("topics", "create", "--config", str(configure("partitions = 2")))

    first = command(*at, "--retention-hours", "1000")
    again = command(*at, "--retention-hours", "1000")
    other = command(*at, "--partitions", "5", "--retention-hours", "2")

    assert "-ticks created, 2 partitions, replication 1, kept 1,000 h" in first.stdout
    assert "created" not in again.stdout
    assert "wanted" not in again.stdout
    assert (first.exit_code, again.exit_code, other.exit_code) == (0, 0, 0)
    assert "partitions is 2, wanted 5" in other.stdout
    assert other.stdout.count("retention.ms is 3600000000, wanted 7200000") == 3


def test_ticks_that_are_soon_gone_are_told(configure: Configure) -> None:
    config = configure()
    command("topics", "create", "--config", str(config), "--retention-hours", "1")

    assert checked(config)[1]["topic of ticks"][0] == "WARN"


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("maxmemory-policy", "allkeys-lru", {"redis memory": "FAIL"}),
        ("maxmemory", "1000000", {"redis memory": "WARN", "redis rights": "FAIL"}),
        ("appendonly", "yes", {"redis persistence": "OK"}),
        ("save", "3600 1", {"redis persistence": "OK"}),
        ("min-replicas-to-write", "1", {"redis rights": "FAIL"}),
    ],
)
def test_a_redis_that_is_set_up_otherwise(
    configure: Configure, redis: RedisServer, setting: str, value: str, found: dict[str, str]
) -> None:
    config = configure()
    with client.Redis.from_url(redis.url, decode_responses=True) as admin:
        before = admin.config_get(setting)[setting]
        admin.config_set(setting, value)
        try:
            code, told = checked(config)
        finally:
            admin.config_set(setting, before)

    assert {check: told[check][0] for check in found} == found
    assert code == ("FAIL" in found.values())


def test_a_user_of_redis_who_may_not_ask_or_write(configure: Configure, redis: RedisServer) -> None:
    with client.Redis.from_url(redis.url) as admin:
        rights = ("on", ">x", "~*", "+@read", "+ping")
        admin.execute_command("ACL", "SETUSER", "reader", *rights)

    _, found = checked(configure(url=redis.url.replace("//", "//reader:x@")))

    assert (found["redis"][0], found["redis rights"][0]) == ("WARN", "FAIL")
    assert "SECURITY.md" in found["redis rights"][1]


def test_rights_that_lack_are_named(checking_broker: Broker, configure: Configure) -> None:
    config = configure(bootstrap=checking_broker.bootstrap)
    assert command("topics", "create", "--config", str(config)).exit_code == 0
    ticks = next(
        json.loads(line.split(" = ")[1])
        for line in config.read_text().splitlines()
        if line.startswith("ticks")
    )
    topic = ResourcePattern(ResourceType.TOPIC, ticks)
    rights = [
        ACL("User:ANONYMOUS", "*", operation, ACLPermissionType.ALLOW, topic)
        for operation in (ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
    ]
    create_acls(checking_broker, rights)

    done = command("doctor", "--config", str(config))

    assert done.exit_code == 1
    assert f"FAIL rights: not allowed: READ {ticks} -> add these ACLs" in done.stdout


def test_memory_of_another_bundle_is_told_before_a_start(configure: Configure) -> None:
    config = configure("partitions = 1")
    command("topics", "create", "--config", str(config))
    settings = {
        name: json.loads(value)
        for name, _, value in (line.partition(" = ") for line in config.read_text().splitlines())
        if value
    }
    note = CommitNote(0, 0, "default-000000000000", "numerics")
    with KafkaAdminClient(bootstrap_servers=settings["bootstrap_servers"]) as admin:
        at = {TopicPartition(settings["ticks"], 0): OffsetAndMetadata(0, note.text(), -1)}
        admin.alter_group_offsets(settings["group"], at)

    code, found = checked(config)

    assert code == 1
    assert verdicts(found, "FAIL") == ["committed memory"]
    assert "docs/recovery.md" in found["committed memory"][1]


def test_a_bundle_that_cannot_be_used_fails_and_the_rest_is_looked_at(configure: Configure) -> None:
    code, found = checked(configure('[bundle]\npath = "nowhere"'))

    assert code == 1
    assert verdicts(found, "FAIL") == ["bundle"]
    assert "broker" in found


def test_an_embedded_run_is_looked_at(tmp_path: Path) -> None:
    done = command("doctor", "--data", str(tmp_path), "--json")

    told = {one["check"]: one["verdict"] for one in json.loads(done.stdout)["checks"]}
    assert set(told) == {"bundle", "memory", "disk", "committed memory"}
    assert (told["disk"], told["committed memory"]) == ("OK", "WARN")


@pytest.mark.parametrize(
    ("ahead_ms", "verdict", "told"),
    [
        (30, "OK", "agrees with ours"),
        (-700, "OK", "0.7 s behind ours"),
        (5_000, "WARN", "5.0 s ahead of ours"),
        (-90_000, "WARN", "90.0 s behind ours"),
    ],
)
def test_a_clock_that_is_off_is_told(ahead_ms: float, verdict: str, told: str) -> None:
    found = skew("clock", ahead_ms, doubt_ms=20)

    assert (found.verdict, found.found) == (verdict, told)
