"""Settings that contradict each other are refused, and no refusal repeats what may be a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from slotcast.config_faults import ConfigError
from slotcast.redis_client import open_redis
from slotcast.settings import BundleSettings, KafkaSettings, Settings, StoreSettings

SECRET = "hunter2 hunter2"
USER = {"username": "wells", "password": SECRET}


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "some.pem"
    path.write_text("no matter")
    return path


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs username and password_file"),
        ({"security_protocol": "SASL_SSL", "password": SECRET}, "needs username"),
        (USER, "need security_protocol = SASL_SSL"),
        (USER | {"security_protocol": "SSL"}, "need security_protocol = SASL_SSL"),
        ({"ca_file": "PEM"}, "ca_file, certificate_file and key_file need SSL"),
        ({"security_protocol": "SSL", "key_file": "PEM"}, "key_file needs certificate_file"),
        ({"security_protocol": "SSL", "ca_file": "/nowhere"}, "cannot read /nowhere: No such"),
        ({"password_file": "/nowhere"}, "password_file: cannot read /nowhere: No such file"),
        ({"password": "", "security_protocol": "SASL_SSL", "username": "a"}, "at least 1"),
        (USER | {"password_file": "/nowhere"}, "password and password_file are both set"),
        ({"security_protocol": SECRET}, "security_protocol"),
        ({"pasword": SECRET}, "pasword"),
    ],
)
def test_contradictions_about_kafka_are_refused(
    given: dict[str, Any], told: str, pem: Path
) -> None:
    with pytest.raises(ValidationError, match=told) as refused:
        KafkaSettings(**{name: pem if value == "PEM" else value for name, value in given.items()})

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ca_file": "PEM"}, "need a rediss:// redis_url"),
        ({"redis_url": "rediss://r", "key_file": "PEM"}, "key_file needs certificate_file"),
        ({"redis_url": f"redis://:{SECRET}@r", "timeout_s": 0}, "timeout_s"),
        ({"redis_url": f"redis://:{SECRET}@r", "redis_url_file": "/nowhere"}, "both set"),
    ],
)
def test_contradictions_about_redis_are_refused(
    given: dict[str, Any], told: str, pem: Path
) -> None:
    with pytest.raises(ValidationError, match=told) as refused:
        StoreSettings(**{name: pem if value == "PEM" else value for name, value in given.items()})

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("digest", ["", "abc", "G" * 64, "A" * 64])
def test_a_digest_is_64_small_hexadecimal_digits(digest: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        BundleSettings(sha256=digest)


def test_no_secret_is_in_what_settings_and_clients_print(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\r\n")
    settings = Settings(
        kafka=KafkaSettings(**USER, security_protocol="SASL_SSL", key_password=SECRET),
        store=StoreSettings(username="wells", password_file=tmp_path / "secret"),
    )
    client = open_redis(settings.store)
    printed = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"

    assert settings.store.password.get_secret_value() == SECRET
    assert SECRET not in printed + f"{client!r} {client.connection_pool!r}"


def test_a_secret_from_the_environment_that_does_not_fit_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLOTCAST_KAFKA__PASSWORD", SECRET)
    monkeypatch.setenv("SLOTCAST_KAFKA__PARTITIONS", SECRET)

    with pytest.raises(ConfigError, match="partitions") as refused:
        Settings.load()

    assert SECRET not in str(refused.value)
