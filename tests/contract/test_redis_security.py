"""TLS and ACL users with a real Redis: who is let in, and what everyone else is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from slotcast.settings import StoreSettings
from slotcast.store.port import StoredRow, StoreUnavailable
from slotcast.store.redis import RedisStore
from slotcast.workers.port import Entry, RegistryUnavailable
from slotcast.workers.redis import RedisRegistry
from tests.certificates import Authority, Certificate
from tests.servers import ROOT, RedisServer, free_ports

USER, PASSWORD, FOREIGN = "wells", "Tr0ub4dor&3", "hunter2 hunter2"
ENTRY = Entry("worker-0", "http://worker-0:8080", [0])


class Secured(NamedTuple):
    """A Redis: `plain_url` is for the tests, whose user may do everything."""

    plain_url: str
    tls_url: str
    authority: Authority
    client: Certificate


def rule() -> list[str]:
    """The ACL rule that SECURITY.md recommends, without the words around it."""
    (line,) = (
        line
        for line in (ROOT / "SECURITY.md").read_text().splitlines()
        if line.startswith("ACL SETUSER slotcast ")
    )
    return [word for word in line.split()[3:] if not word.startswith(">")]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("certificates"), "authority")
    shown, (port,) = authority.issue("redis"), free_ports(1)
    options = {
        "--tls-port": port,
        "--tls-cert-file": shown.file,
        "--tls-key-file": shown.key,
        "--tls-ca-cert-file": authority.file,
        "--tls-auth-clients": "optional",
    }
    with RedisServer(tuple(str(word) for pair in options.items() for word in pair)) as server:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("ACL", "SETUSER", USER, f">{PASSWORD}", *rule())
            client.execute_command("ACL", "SETUSER", "reader", f">{PASSWORD}", "on", "~*", "+@read")
        url = f"rediss://127.0.0.1:{port}/0"
        yield Secured(server.url, url, authority, authority.issue("client"))


@pytest.fixture
def given(secured: Secured) -> dict[str, Any]:
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


def test_user_and_password_may_stand_in_the_url(secured: Secured, given: dict[str, Any]) -> None:
    url = secured.tls_url.replace("//", f"//{USER}:Tr0ub4dor%263@")

    goes_round(StoreSettings(redis_url=url, ca_file=secured.authority.file))


def test_url_and_password_may_stand_in_files(given: dict[str, Any], tmp_path: Path) -> None:
    for name in ("redis_url", "password"):
        (tmp_path / name).write_text(f"{given.pop(name)}\n")
        given[f"{name}_file"] = tmp_path / name

    goes_round(StoreSettings(**given))


def test_a_client_certificate_is_shown(secured: Secured, given: dict[str, Any]) -> None:
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
