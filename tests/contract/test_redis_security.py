"""TLS and ACL users with a real Redis: who is let in, and what everyone else is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from slotcast.settings import StoreSettings
from slotcast.store.port import StoredRow, StoreUnavailable
from slotcast.store.redis import RedisStore
from slotcast.workers.port import Entry, RegistryUnavailable
from slotcast.workers.redis import RedisRegistry
from tests.secured import PASSWORD, USER, SecuredRedis, secured_redis

FOREIGN = "hunter2 hunter2"
ENTRY = Entry("worker-0", "http://worker-0:8080", [0])


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRedis]:
    with secured_redis(tmp_path_factory.mktemp("certificates")) as server:
        yield server


@pytest.fixture
def given(secured: SecuredRedis) -> dict[str, Any]:
    return {
        "redis_url": secured.tls_url,
        "ca_file": secured.authority.file,
        "username": USER,
        "password": PASSWORD,
        "timeout_s": 5,
    }


def goes_round(settings: StoreSettings) -> None:
    """What store and registry do at all."""
    store, registry = RedisStore(settings, "g", "t"), RedisRegistry(settings, "g", "t")
    store.write(0, store.claim(0, "token"), {"A": StoredRow(1, b"row")}, b"header")
    registry.announce(ENTRY, 60)

    assert store.header(0) == b"header"
    assert store.index(0) == {"A": 1}
    assert store.known(0, ["A"]) == {"A"}
    assert store.rows(0, ["A"]) == [b"row"]
    assert list(registry.workers()) == [ENTRY]
    registry.leave(ENTRY)
    store.clear(0)
    registry.close()
    store.close()


def test_an_acl_user_with_the_documented_rule_is_let_in_over_tls(given: dict[str, Any]) -> None:
    goes_round(StoreSettings(**given))


def test_user_and_password_may_stand_in_the_url(
    secured: SecuredRedis, given: dict[str, Any]
) -> None:
    url = secured.tls_url.replace("//", f"//{USER}:{quote(PASSWORD)}@")

    goes_round(StoreSettings(redis_url=url, ca_file=secured.authority.file))


def test_url_and_password_may_stand_in_files(given: dict[str, Any], tmp_path: Path) -> None:
    for name in ("redis_url", "password"):
        (tmp_path / name).write_text(f"{given.pop(name)}\n")
        given[f"{name}_file"] = tmp_path / name

    goes_round(StoreSettings(**given))


def test_a_client_certificate_is_shown(secured: SecuredRedis, given: dict[str, Any]) -> None:
    pem = {"certificate_file": secured.client.file, "key_file": secured.client.key}
    with redis.Redis.from_url(secured.plain_url) as client:
        client.config_set("tls-auth-clients", "yes")
        try:
            goes_round(StoreSettings(**given, **pem))
            with pytest.raises(RegistryUnavailable, match=r"store\.certificate_file"):
                RedisRegistry(StoreSettings(**given), "g", "t").workers()
        finally:
            client.config_set("tls-auth-clients", "optional")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"password": FOREIGN}, r"user wells.*check store\.username and store\.password"),
        ({"username": "nobody"}, r"user nobody.*check store\.username and store\.password"),
        ({"username": "reader"}, r"SECURITY\.md has the ACL rule"),
        ({"ca_file": None}, r"store\.ca_file has to hold the authority"),
        ({"redis_url": "rediss://localhost:{port}/0"}, r"name in store\.redis_url has to be one"),
    ],
)
def test_who_is_not_let_in_is_told_why_and_snapshots_stop(
    given: dict[str, Any], wrong: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = given["redis_url"].rpartition(":")[2].partition("/")[0]
    if url := wrong.get("redis_url"):  # of the same server, by a name that its certificate lacks
        wrong = {"redis_url": url.format(port=port)}
    settings = StoreSettings(**given | wrong)
    with caplog.at_level(logging.WARNING):
        store = RedisStore(settings, "g", "t")
    with pytest.raises(StoreUnavailable, match=told) as refused:
        store.claim(0, "token")
    with pytest.raises(RegistryUnavailable, match=told):
        RedisRegistry(settings, "g", "t").announce(ENTRY, 60)

    heard = caplog.text + str(refused.value) + repr(settings) + str(settings)
    assert FOREIGN not in heard
    assert PASSWORD not in heard
    store.close()
