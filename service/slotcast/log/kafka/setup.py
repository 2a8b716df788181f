"""`slotcast topics create`: the three topics as delivery needs them, made once and then compared.

What exists is never changed: a broker cannot take partitions away, and adding them moves
instruments. What is not as it should be is told, with whether slotcast can work with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from kafka.errors import TopicAlreadyExistsError

from slotcast.log.kafka.client import administrator, kafka_errors
from slotcast.log.kafka.topics import POLICY, configured, limits_of, stricter
from slotcast.settings import KafkaSettings

RETENTION = "retention.ms"


class Difference(msgspec.Struct):
    """Something of a topic that is not as wanted; where it `must` be, slotcast refuses to run."""

    what: str
    found: str
    wanted: str
    must: bool


class TopicReport(msgspec.Struct):
    """A topic as it is now."""

    topic: str
    role: str
    created: bool
    partitions: int
    replication: int
    policy: str | None
    retention_ms: int | None
    differs: list[Difference] = msgspec.field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether slotcast can run with it."""
        return not any(one.must for one in self.differs)


def create_topics(settings: KafkaSettings, retention_ms: int | None = None) -> list[TopicReport]:
    """Create what is missing, and tell how the rest differs. Raises LogError.

    Forecasts and dead letters get as many partitions as the tick topic has.
    """
    with kafka_errors("look at the topics", settings), administrator(settings) as admin:
        roles = roles_of(settings)
        there = described(admin, list(roles.values()))
        ticks = there.get(settings.ticks)
        partitions = len(ticks["partitions"]) if ticks else settings.partitions
        missing = [topic for topic in roles.values() if topic not in there]
        with kafka_errors(f"create {', '.join(missing)}", settings):
            for topic in missing:  # ticks first
                limits = limits_of(configured(admin, settings.ticks))
                _create(admin, topic, partitions, settings.replication, retention_ms, limits)
        there = described(admin, list(roles.values()))
        return [
            _report(admin, role, there[topic], topic in missing, settings, retention_ms)
            for role, topic in roles.items()
        ]


def roles_of(settings: KafkaSettings) -> Mapping[str, str]:
    """Role -> topic, ticks first."""
    return {
        "ticks": settings.ticks,
        "forecasts": settings.forecasts,
        "dead letters": settings.dead_letters,
    }


def described(admin: Any, topics: list[str]) -> dict[str, Any]:
    """Those of these topics that exist, as the broker describes them."""
    return {one["name"]: one for one in admin.describe_topics(topics) if one["error_code"] == 0}


def _create(
    admin: Any,
    topic: str,
    partitions: int,
    replication: int,
    retention_ms: int | None,
    limits: Mapping[str, str],
) -> None:
    configs = {POLICY: "delete", **limits}
    if retention_ms is not None:
        configs[RETENTION] = str(retention_ms)
    wanted = {
        "num_partitions": partitions,
        "replication_factor": replication,
        "configs": configs,
    }
    try:
        admin.create_topics({topic: wanted}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return


def _report(
    admin: Any,
    role: str,
    topic: Mapping[str, Any],
    created: bool,
    settings: KafkaSettings,
    retention_ms: int | None,
) -> TopicReport:
    configs = configured(admin, topic["name"])
    kept = configs.get(RETENTION)
    report = TopicReport(
        topic=topic["name"],
        role=role,
        created=created,
        partitions=len(topic["partitions"]),
        replication=min((len(p["replica_nodes"]) for p in topic["partitions"]), default=0),
        policy=configs.get(POLICY),
        retention_ms=None if kept is None else int(kept),
    )
    ticks = len(described(admin, [settings.ticks])[settings.ticks]["partitions"])
    report.differs += _differences(report, settings, ticks, retention_ms)
    if role != "ticks":
        of_ticks = configured(admin, settings.ticks)
        report.differs += [Difference(*one, must=True) for one in stricter(of_ticks, configs)]
    return report


def _differences(
    report: TopicReport, settings: KafkaSettings, ticks: int, retention_ms: int | None
) -> Iterator[Difference]:
    wanted = settings.partitions if report.role == "ticks" else ticks
    if report.partitions != wanted:
        too_few = report.role == "forecasts" and report.partitions < ticks
        yield Difference("partitions", str(report.partitions), str(wanted), too_few)
    if report.replication != settings.replication:
        found, meant = str(report.replication), str(settings.replication)
        yield Difference("replication", found, meant, must=False)
    if report.policy not in (None, "delete"):
        must = report.role == "ticks" and "compact" in (report.policy or "")
        yield Difference(POLICY, report.policy or "", "delete", must)
    if retention_ms is not None and report.retention_ms not in (None, retention_ms):
        yield Difference(RETENTION, str(report.retention_ms), str(retention_ms), must=False)
