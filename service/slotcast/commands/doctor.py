"""`slotcast doctor`: one line per thing that a worker needs, and what to do about it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from slotcast.commands.options import AsJson, Config, Data, fail, load

if TYPE_CHECKING:
    from slotcast.checks.finding import Finding
    from slotcast.settings import Settings
    from slotcast_models.bundle import Bundle

COLORS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


def doctor(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Look at broker, topics, rights, Redis, bundle, clocks and disk, and say what to do.

    One line per check: OK, WARN or FAIL. Exit code 0: nothing has failed; 1: something has.

    Example: slotcast doctor --config slotcast.toml

    Of an embedded run: slotcast doctor --data data/demo-400
    """
    import logging

    import msgspec

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    found = list["Finding"]()
    for one in _all(config, data):
        found.append(one)
        if not as_json:
            _print(one)
    failed = any(one.verdict == "FAIL" for one in found)
    if as_json:
        facts = {"failed": failed, "checks": found}
        typer.echo(msgspec.json.format(msgspec.json.encode(facts)))
    raise typer.Exit(1 if failed else 0)


def _all(config: Path | None, data: Path | None) -> Iterator[Finding]:
    """Every finding, as soon as it is there; what cannot be loaded ends the look at once."""
    from slotcast.checks.finding import fail as failing
    from slotcast.checks.here import bundle_findings, disk_findings
    from slotcast.settings import Settings
    from slotcast_models.bundle import BundleError

    try:
        settings = Settings.load(config)
    except (OSError, ValueError) as error:
        fail(error)
    bundle: Bundle | None = None
    try:
        settings, bundle = load(config, data)
        yield from bundle_findings(bundle, settings.worker)
    except (OSError, ValueError, BundleError) as error:
        remedy = "see [bundle] and [schema] in docs/configuration.md"
        yield failing("bundle", str(error), remedy)
    reached = True
    if data is not None:
        yield from disk_findings(data)
    else:
        reached = yield from _servers(settings)
    if bundle is not None and reached:
        yield from _memory(settings, data, bundle)


def _servers(settings: Settings) -> Generator[Finding, None, bool]:
    """Findings of Kafka and Redis; returns whether there is a log to look at."""
    from redis.exceptions import RedisError

    from slotcast.checks.finding import fail as failing
    from slotcast.checks.kafka import kafka_findings
    from slotcast.checks.redis import redis_findings
    from slotcast.log.port import LogError
    from slotcast.redis_client import explained

    reached = False
    try:
        reached = yield from kafka_findings(settings.kafka)
    except LogError as error:
        yield failing("broker", str(error), "start Kafka, or set kafka.bootstrap_servers")
    try:
        yield from redis_findings(settings.store)
    except (RedisError, OSError, ValueError) as error:
        remedy = "start Redis, or set store.redis_url: without it a restart is a long replay"
        yield failing("redis", explained(error, settings.store), remedy)
    return reached


def _memory(settings: Settings, data: Path | None, bundle: Bundle) -> Iterator[Finding]:
    from slotcast.bootstrap import history
    from slotcast.checks.finding import warn
    from slotcast.checks.here import memory_findings
    from slotcast.log.port import LogError

    try:
        with closing(history(settings, data)) as opened:
            yield from memory_findings(opened, bundle)
    except LogError as error:
        yield warn("committed memory", str(error), "see the checks above")


def _print(one: Finding) -> None:
    verdict = typer.style(f"{one.verdict:4}", fg=COLORS[one.verdict], bold=True)
    remedy = f" -> {one.remedy}" if one.remedy else ""
    typer.echo(f"{verdict} {one.check}: {one.found}{remedy}")
