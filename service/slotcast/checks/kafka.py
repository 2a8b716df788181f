"""Kafka as a worker finds it: broker, clock, topics, rights, group.

Changes nothing, but that the broker learns of a producer, which writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from kafka.admin import MemberToRemove
from kafka.errors import AuthorizationError, KafkaError

from slotcast.checks.finding import Finding, fail, ok, skew, warn
from slotcast.log.kafka.client import NotAllowed, administrator, kafka_errors
from slotcast.log.kafka.driver import driver_of
from slotcast.log.kafka.setup import described, roles_of
from slotcast.log.kafka.takeover import transactional_id
from slotcast.log.kafka.topics import POLICY, configured, stricter
from slotcast.log.port import LogError
from slotcast.settings import KafkaSettings

OLDEST = (2, 5)
"""The first broker with fencing that knows who commits (KIP-447)."""
BOTH_WAYS = ("WRITE", "READ", "DESCRIBE")
NEEDED = {"ticks": ("READ", "DESCRIBE"), "forecasts": BOTH_WAYS, "dead letters": BOTH_WAYS}
FEW_HOURS_MS = 6 * 3_600_000
NOBODY = "slotcast-doctor"
"""An id that no member has: brokers give longer ones."""
PRODUCER_WAIT_MS = 10_000
"""For an answer about transactions: a broker makes their topic at the first question."""


def kafka_findings(settings: KafkaSettings) -> Generator[Finding, None, bool]:
    """Look at everything; returns whether all topics are there.

    Raises LogError where the broker does not answer.
    """
    with kafka_errors("look at the broker", settings), administrator(settings) as admin:
        yield from _broker(admin, settings)
        yield from _clock(admin)
        there = described(admin, list(roles_of(settings).values()))
        yield from _topics(admin, settings, there)
        yield from _rights(settings, there)
        yield from _group(admin, settings)
        if settings.delivery == "exactly-once":
            yield from _transactions(settings)
        return len(there) == len(roles_of(settings))


def _broker(admin: Any, settings: KafkaSettings) -> Iterator[Finding]:
    brokers = admin.describe_cluster()["brokers"]
    version = admin.get_broker_version_data(brokers[0]["broker_id"]).broker_version
    told = f"Kafka {'.'.join(map(str, version))}, {len(brokers)} up"
    if tuple(version) < OLDEST:
        yield fail("broker", told, f"upgrade to Kafka {'.'.join(map(str, OLDEST))} at least")
    elif len(brokers) < settings.replication:
        yield fail(
            "broker",
            f"{told}, kafka.replication is {settings.replication}",
            f"set kafka.replication to {len(brokers)} at most, or start more brokers",
        )
    else:
        yield ok("broker", told)


def _clock(admin: Any) -> Iterator[Finding]:
    """The leader of the metadata quorum tells the moment of its answer."""
    begun_ms = time.time() * 1e3
    try:
        partition = admin.describe_metadata_quorum()["topics"][0]["partitions"][0]
    except (AuthorizationError, KafkaError, LookupError):
        return  # not everybody may ask, and without KRaft there is none
    ended_ms, leader = time.time() * 1e3, partition["leader_id"]
    for voter in partition["current_voters"]:
        if voter["replica_id"] == leader and voter["last_caught_up_timestamp"] > 0:
            theirs = voter["last_caught_up_timestamp"]
            doubt_ms = (ended_ms - begun_ms) / 2
            yield skew("broker clock", theirs - (begun_ms + ended_ms) / 2, doubt_ms)


def _topics(admin: Any, settings: KafkaSettings, there: Mapping[str, Any]) -> Iterator[Finding]:
    counts = {topic: len(one["partitions"]) for topic, one in there.items()}
    for role, topic in roles_of(settings).items():
        check = f"topic of {role}"
        if topic not in there:
            yield _missing(check, topic, settings)
            continue
        dark = [p["partition_index"] for p in there[topic]["partitions"] if p["leader_id"] < 0]
        if dark:
            yield fail(check, f"{topic}: partitions {dark} have no leader", "start their brokers")
            continue
        told = f"{topic}, {counts[topic]} partitions"
        yield from _partitions(check, told, role, counts[topic], counts.get(settings.ticks))
        configs = configured(admin, topic)
        yield from _configs(check, role, there[topic], configs)
        if role != "ticks" and settings.ticks in there:
            for name, found, wanted in stricter(configured(admin, settings.ticks), configs):
                why = "what carries the timestamp of a tick would be refused"
                yield fail(check, f"{name} is {found}, of ticks {wanted}", f"raise it: {why}")


def _missing(check: str, topic: str, settings: KafkaSettings) -> Finding:
    remedy = "slotcast topics create"
    if settings.create_topics:
        return warn(check, f"{topic} is not there; serve would create it", remedy)
    return fail(check, f"{topic} is not there", remedy)


def _partitions(
    check: str, told: str, role: str, count: int, ticks: int | None
) -> Iterator[Finding]:
    if role != "forecasts" or ticks is None or count == ticks:
        yield ok(check, told)
    elif count < ticks:
        yield fail(
            check,
            f"{told}, the tick topic has {ticks}",
            f"kafka-topics.sh --alter --partitions {ticks}: a forecast goes to the number of its"
            " tick's partition",
        )
    else:
        yield warn(check, f"{told}, the tick topic has {ticks}", "the others stay empty")


def _configs(
    check: str, role: str, topic: Mapping[str, Any], configs: Mapping[str, str]
) -> Iterator[Finding]:
    if not configs:
        if role == "ticks":
            remedy = "allow DESCRIBE_CONFIGS, or make sure that the tick topic is not compacted"
            yield warn(check, "its settings may not be read", remedy)
        return
    if role == "ticks" and "compact" in configs.get(POLICY, ""):
        yield fail(
            check,
            f"{POLICY} is {configs[POLICY]}, which deletes ticks",
            "set it to delete: memory is replayed from ticks",
        )
    kept_ms = int(configs.get("retention.ms") or -1)
    if role == "ticks" and 0 <= kept_ms < FEW_HOURS_MS:
        yield warn(
            check,
            f"ticks are kept for {kept_ms / 3.6e6:.1f} h",
            "longer than a worker may stand still, or recovery cannot be exact",
        )
    least = min(len(p["replica_nodes"]) for p in topic["partitions"])
    if least < int(configs.get("min.insync.replicas") or 1):
        yield fail(
            check,
            f"{least} replicas, min.insync.replicas is {configs['min.insync.replicas']}",
            "nothing can be written: more replicas, or a lower min.insync.replicas",
        )


def _rights(settings: KafkaSettings, there: Mapping[str, Any]) -> Iterator[Finding]:
    lacking, silent = list[str](), False
    for role, topic in roles_of(settings).items():
        allowed = there.get(topic, {}).get("authorized_operations")
        silent = silent or (topic in there and allowed is None)
        if allowed is not None and "ALL" not in allowed:
            lacking += [f"{one} {topic}" for one in NEEDED[role] if one not in allowed]
    if lacking:
        yield fail("rights", f"not allowed: {', '.join(lacking)}", "add these ACLs for this user")
        return
    if silent:
        yield warn(
            "rights",
            "the broker does not tell",
            "allow READ on ticks, READ and WRITE on forecasts and dead letters: SECURITY.md lists"
            " all rights",
        )
    elif there:
        yield ok("rights", "may read ticks, and read and write forecasts and dead letters")
    writes = there.get(settings.ticks, {}).get("authorized_operations")
    if writes is not None and not {"WRITE", "ALL"} & set(writes):
        yield warn(
            "rights", f"may not write to {settings.ticks}", "resets and imports need WRITE there"
        )


def _group(admin: Any, settings: KafkaSettings) -> Iterator[Finding]:
    """Send nobody out of the group: of one that is not there yet, no other request tells rights."""
    name = settings.group
    try:
        (refused,) = admin.remove_group_members(name, [MemberToRemove(NOBODY)]).values()
        found = admin.describe_groups([name])
    except AuthorizationError as error:
        refused = error
    except KafkaError:
        return  # a broker that never had a group has nobody to ask
    if isinstance(refused, AuthorizationError):
        yield fail("group", f"{name} may not be joined", f"allow READ on group {name}")
        return
    members = [one.get("group_instance_id") for one in found[name].get("members", ())]
    named = ", ".join(sorted(one for one in members if one))
    yield ok("group", f"{name}, {len(members)} workers{f': {named}' if named else ''}")


def _transactions(settings: KafkaSettings) -> Iterator[Finding]:
    """Begin a producer with an id of ours: no other request tells whether one may write."""
    prefix = transactional_id(settings, "")
    named = f"transactional ids that begin with {prefix}"
    how = {"client": "kafka-python", "delivery_timeout_ms": PRODUCER_WAIT_MS}
    hurried = settings.model_copy(update=how)
    try:
        producer = driver_of(hurried).open_producer(hurried, f"{prefix}doctor")
        try:
            producer.init_transactions()
        finally:
            producer.discard()
    except NotAllowed:
        yield fail("transactions", f"may not use {named}", f"allow WRITE and DESCRIBE on {named}")
    except LogError as error:
        yield fail("transactions", str(error), "see the broker's log: nothing can be published")
    else:
        yield ok("transactions", f"may use {named}")
