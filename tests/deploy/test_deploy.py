"""The stack agrees with itself and with the settings of the worker.

No container engine runs here. Where docker-compose or promtool is installed it judges its own
format; the other tests judge what neither knows.
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

import pytest
import yaml

import slotcast
from slotcast.settings import Settings
from tests.deploy.files import (
    COMPOSE,
    DEPLOY,
    ROOT,
    SERVICES,
    accepted_by,
    instructions,
    listener,
    mounts,
    properties,
)

each_service = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the worker's container reads: the mounted file under the stack's environment."""
    for variable in [name for name in os.environ if name.startswith("SLOTCAST_")]:
        monkeypatch.delenv(variable)
    for variable, value in SERVICES["slotcast"]["environment"].items():
        monkeypatch.setenv(variable, value)
    return Settings.load(DEPLOY / "slotcast/slotcast.toml")


@each_service
def test_every_image_names_its_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")

    assert re.match(r"v?\d+\.\d+\.\d+", tag)


def test_our_image_has_the_version_of_the_package() -> None:
    ours = {name: service["image"] for name, service in SERVICES.items() if "build" in service}

    assert ours == dict.fromkeys(["slotcast", "producer"], f"slotcast:{slotcast.__version__}")


@each_service
def test_every_service_is_checked_or_says_why_not(name: str) -> None:
    service = SERVICES[name]
    check = service.get("healthcheck", {})

    if check.get("disable"):
        assert service["x-no-health-check"]
    elif not check:
        assert "build" in service
        assert "HEALTHCHECK" in dict(instructions())
    else:
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@each_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    ports = SERVICES[name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in ports)


@each_service
def test_every_service_restarts_within_limits_and_without_privileges(name: str) -> None:
    service = SERVICES[name]
    user = service.get("user") or dict(instructions())["USER"]

    assert service["restart"] == "unless-stopped"
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert user.split(":")[0] not in {"root", "0"}


@each_service
def test_a_service_waits_until_what_it_needs_is_healthy(name: str) -> None:
    for needed, wanted in SERVICES[name].get("depends_on", {}).items():
        assert wanted["condition"] == "service_healthy"
        assert not SERVICES[needed].get("healthcheck", {}).get("disable")


def test_every_mounted_file_exists_and_every_deploy_file_is_mounted() -> None:
    sources = [source for name in SERVICES for source in mounts(name).values()]
    given = [(ROOT / source).resolve() for source in sources if source.startswith("./")]
    files = {path for one in given for path in ([one] if one.is_file() else one.rglob("*"))}

    assert files == {path for path in DEPLOY.rglob("*") if path.is_file()}


def test_every_volume_is_used_by_one_service() -> None:
    sources = [source for name in SERVICES for source in mounts(name).values()]

    assert sorted(source for source in sources if source[0] != ".") == sorted(COMPOSE["volumes"])


def test_the_worker_finds_the_broker_and_the_store(settings: Settings) -> None:
    broker, port = listener("advertised.listeners", "INSIDE")

    assert settings.kafka.bootstrap_servers == f"{broker}:{port}"
    assert settings.store.redis_url.get_secret_value() == "redis://redis:6379/0"
    assert {broker, "redis"} <= set(SERVICES["slotcast"]["depends_on"])


def test_the_worker_is_reached_at_its_published_port(settings: Settings) -> None:
    (published,) = SERVICES["slotcast"]["ports"]

    assert settings.http.host == "0.0.0.0"
    assert published.endswith(f":{settings.http.port}")
    assert ("EXPOSE", str(settings.http.port)) in instructions()
    assert f":{settings.http.port}/v2/health/live" in dict(instructions())["HEALTHCHECK"]


def test_the_producer_feeds_the_topic_that_the_worker_reads(settings: Settings) -> None:
    command = SERVICES["producer"]["command"]

    assert command[command.index("--topic") + 1] == settings.kafka.ticks
    assert mounts("producer") == mounts("slotcast")
    assert (
        SERVICES["producer"]["environment"].items() <= SERVICES["slotcast"]["environment"].items()
    )


def test_the_broker_advertises_what_is_published_and_checks_what_it_serves() -> None:
    host, port = listener("advertised.listeners", "HOST")

    assert SERVICES["kafka"]["ports"] == [f"{host}:{port}:{port}"]
    assert listener("listeners", "INSIDE")[1] in SERVICES["kafka"]["healthcheck"]["test"]


def test_the_broker_keeps_its_log_where_the_volume_is() -> None:
    assert properties(DEPLOY / "kafka/server.properties")["log.dirs"] in mounts("kafka")


def test_a_long_pause_deletes_neither_the_log_nor_its_offsets() -> None:
    broker = properties(DEPLOY / "kafka/server.properties")

    assert broker["log.retention.ms"] == "-1"
    assert int(broker["offsets.retention.minutes"]) >= 60 * 24 * 365
    assert broker["auto.create.topics.enable"] == "false"


def test_the_store_never_evicts_and_survives_a_restart() -> None:
    lines = (DEPLOY / "redis/redis.conf").read_text().splitlines()

    assert {"maxmemory-policy noeviction", "appendonly yes", "dir /data"} <= set(lines)
    assert "/data" in mounts("redis")


def test_prometheus_scrapes_the_worker(settings: Settings) -> None:
    scraping = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]

    assert job["static_configs"] == [{"targets": [f"slotcast:{settings.http.port}"]}]
    assert job["metrics_path"] == "/metrics"
    (config,) = [flag for flag in SERVICES["prometheus"]["command"] if "config.file" in flag]
    assert config.split("=")[1] in mounts("prometheus")


def test_grafana_asks_prometheus_at_the_pace_of_its_scrapes() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasource.yml").read_text())["datasources"]
    scraping = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]


def test_grafana_opens_with_the_provisioned_dashboard_and_has_no_login() -> None:
    (provider,) = yaml.safe_load((DEPLOY / "grafana/dashboards.yml").read_text())["providers"]
    ini = configparser.ConfigParser()
    ini.read(DEPLOY / "grafana/grafana.ini")
    home = ini["dashboards"]["default_home_dashboard_path"]

    folder = Path(provider["options"]["path"])

    assert (ROOT / mounts("grafana")[str(folder)] / Path(home).name).is_file()
    assert Path(home).parent == folder
    assert ini["auth.anonymous"]["org_role"] == "Viewer"
    assert ini["security"].getboolean("disable_initial_admin_creation")


def test_no_secret_is_written_down() -> None:
    texts = [*DEPLOY.rglob("*"), ROOT / "docker-compose.yml", ROOT / "Dockerfile"]
    secret = re.compile(r"(?im)^(?![#;]).*(password|token|secret\w*)\s*[=:]\s*\S")

    assert [p.name for p in texts if p.is_file() and secret.search(p.read_text())] == []


def test_docker_compose_accepts_the_stack() -> None:
    accepted_by("docker-compose", "config", "--quiet")


def test_promtool_accepts_the_scrape_configuration() -> None:
    accepted_by("promtool", "check", "config", "deploy/prometheus/prometheus.yml")
