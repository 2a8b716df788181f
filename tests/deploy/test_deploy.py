"""The stack agrees with itself and with the settings of the worker.

No container engine runs here. Compose's own schema and promtool judge the formats, the other tests
what neither knows; `test_stack.py` runs the services.
"""

from __future__ import annotations

import configparser
import inspect
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import slotcast
from slotcast.bootstrap import Service
from slotcast.settings import Settings
from tests.deploy.files import (
    COMPOSE,
    DEPLOY,
    ROOT,
    SERVICES,
    WORKERS,
    accepted_by,
    instructions,
    listener,
    mounts,
    properties,
)

each_service = pytest.mark.parametrize("name", SERVICES)
each_worker = pytest.mark.parametrize("name", WORKERS)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, name: str) -> Settings:
    """What a worker's container reads: the mounted file under the service's environment."""
    for variable in [name for name in os.environ if name.startswith("SLOTCAST_")]:
        monkeypatch.delenv(variable)
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    return Settings.load(DEPLOY / "slotcast/slotcast.toml")


def test_compose_accepts_the_file() -> None:
    accepted_by("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_every_variable_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    variables = re.findall(r"\$\{?\w+[^}\s]*\}?", text)

    assert len(variables) == 4
    assert [one for one in variables if not re.fullmatch(r"\$\{[A-Z_\d]+:-\d+\}", one)] == []


@each_service
def test_every_image_names_its_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")

    assert re.match(r"v?\d+\.\d+\.\d+", tag)


def test_our_image_has_the_version_of_the_package() -> None:
    ours = {name: service["image"] for name, service in SERVICES.items() if "build" in service}

    assert ours == dict.fromkeys([*WORKERS, "producer"], f"slotcast:{slotcast.__version__}")


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
    assert service["cpus"] == 1, "a computer with one core refuses more"
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert user.split(":")[0] not in {"root", "0"}


@each_service
def test_the_files_of_an_image_stay_as_they_are_or_it_is_said_why_not(name: str) -> None:
    service = SERVICES[name]

    assert service.get("read_only") is True or service["x-writable-root"]


@each_service
def test_a_service_waits_until_what_it_needs_is_healthy(name: str) -> None:
    for needed, wanted in SERVICES[name].get("depends_on", {}).items():
        assert wanted["condition"] == "service_healthy"
        assert not SERVICES[needed].get("healthcheck", {}).get("disable")


def test_every_mounted_file_exists_and_every_deploy_file_is_mounted() -> None:
    sources = [source for name in SERVICES for source in mounts(name).values()]
    given = [(ROOT / source).resolve() for source in sources if source.startswith("./")]
    files = {path for one in given for path in ([one] if one.is_file() else one.rglob("*"))}

    ours = {path for path in DEPLOY.rglob("*") if path.is_file()}
    assert files == {path for path in ours if DEPLOY / "helm" not in path.parents}


def test_every_volume_is_used_by_one_service() -> None:
    sources = [source for name in SERVICES for source in mounts(name).values()]

    assert sorted(source for source in sources if source[0] != ".") == sorted(COMPOSE["volumes"])


@each_worker
def test_a_worker_finds_the_broker_and_the_store(name: str, settings: Settings) -> None:
    broker, port = listener("advertised.listeners", "INSIDE")

    assert settings.kafka.bootstrap_servers == f"{broker}:{port}"
    assert settings.store.redis_url.get_secret_value() == "redis://redis:6379/0"
    assert {broker, "redis"} <= set(SERVICES[name]["depends_on"])


@each_worker
def test_a_worker_is_reached_at_its_published_port(name: str, settings: Settings) -> None:
    (published,) = SERVICES[name]["ports"]

    assert settings.http.host == "0.0.0.0"
    assert published.endswith(f":{settings.http.port}")
    assert ("EXPOSE", str(settings.http.port)) in instructions()
    assert f":{settings.http.port}/v2/health/live" in dict(instructions())["HEALTHCHECK"]


@each_worker
def test_a_worker_is_its_group_s_member_and_the_others_address_of_its_service_s_name(
    name: str, settings: Settings
) -> None:
    assert settings.kafka.instance_id == name
    assert settings.http.advertise == f"http://{name}:{settings.http.port}"


def test_there_are_two_workers_that_differ_in_their_names_and_ports_only() -> None:
    assert WORKERS == ["worker-0", "worker-1"]
    named = [str(SERVICES[name] | {"ports": None}).replace(name, "worker") for name in WORKERS]

    assert named[0] == named[1]
    assert SERVICES["worker-0"]["ports"] != SERVICES["worker-1"]["ports"]


@each_worker
def test_a_worker_may_write_the_compiled_loops_of_its_image(name: str) -> None:
    cache = dict(word.split("=", 1) for word in dict(instructions())["ENV"].split())
    folder = f"{cache['XDG_CACHE_HOME']}/slotcast"

    assert mounts(name)[folder] in COMPOSE["volumes"]
    assert any(folder in arguments for key, arguments in instructions() if key == "RUN")


@each_worker
def test_the_grace_is_longer_than_a_clean_stop(name: str) -> None:
    longest_s = inspect.signature(Service.stop).parameters["timeout_s"].default

    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= longest_s + 10


@each_worker
def test_the_producer_feeds_the_topic_that_the_workers_read(name: str, settings: Settings) -> None:
    producer = SERVICES["producer"]
    command = producer["command"]

    assert command[command.index("--topic") + 1] == settings.kafka.ticks
    assert mounts("producer").items() <= mounts(name).items()
    assert producer["environment"].items() <= SERVICES[name]["environment"].items()
    assert name in producer["depends_on"]


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


def test_prometheus_scrapes_the_workers() -> None:
    scraping = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]

    assert job["static_configs"] == [{"targets": [f"{name}:8080" for name in WORKERS]}]
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


@pytest.mark.parametrize("kind", ["datasources", "dashboards"])
def test_grafana_finds_what_is_provisioned_where_it_looks(kind: str) -> None:
    (source,) = [
        source
        for target, source in mounts("grafana").items()
        if Path(target).parent == Path("/etc/grafana/provisioning", kind)
    ]
    provisioned = yaml.safe_load((ROOT / source).read_text())
    (one,) = provisioned["providers" if kind == "dashboards" else kind]

    assert provisioned["apiVersion"] == 1
    assert {"name", "type"} <= set(one)
    assert one.get("access", "proxy") == "proxy"


def test_no_secret_is_written_down() -> None:
    texts = [path for path in DEPLOY.rglob("*") if DEPLOY / "helm" not in path.parents]
    texts += [ROOT / "docker-compose.yml", ROOT / "Dockerfile"]
    secret = re.compile(r"(?im)^(?![#;]).*(password|token|secret\w*)\s*[=:]\s*\S")

    assert [p.name for p in texts if p.is_file() and secret.search(p.read_text())] == []


def test_promtool_accepts_the_scrape_configuration() -> None:
    accepted_by("promtool", "check", "config", "deploy/prometheus/prometheus.yml")


HAS = {
    "apache/kafka": {"nc"},  # on Alpine, whose BusyBox has nc with -z (NC_110_COMPAT)
    "redis": {"redis-cli", "grep"},  # -alpine
    "prom/prometheus": {"promtool"},  # beside its server in /bin; 3.x has `check ready`
    "grafana/grafana": {"wget"},  # on Alpine, but for the tags -ubuntu and -distroless: BusyBox
}
"""Programs of the images of others, as their Dockerfiles have them."""


@pytest.mark.parametrize(
    "name", [name for name in SERVICES if "test" in SERVICES[name].get("healthcheck", {})]
)
def test_a_health_check_uses_programs_that_its_image_has(name: str) -> None:
    kind, *words = SERVICES[name]["healthcheck"]["test"]
    image, _, tag = SERVICES[name]["image"].partition(":")
    commands = words[0].split(" | ") if kind == "CMD-SHELL" else words[:1]

    assert {command.split()[0] for command in commands} <= HAS[image]
    assert ("alpine" in tag) == (image == "redis")
    assert not re.search("ubuntu|distroless", tag)


def made(tmp_path: Path, docker: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`make` with these words, where this script is what `docker` is."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{docker}\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    mine = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS"}  # of the make that runs the tests
    given = {name: text for name, text in os.environ.items() if name not in mine}
    return subprocess.run(
        ["make", *words],
        cwd=ROOT,
        env=given | {"PATH": path, "DOCKER_ASKED": str(tmp_path / "asked")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["up"], "compose up --detach --build --wait"),
        (["down"], "compose down"),
        (["down", "ARGS=--volumes"], "compose down --volumes"),
    ],
)
def test_make_asks_docker_for_the_stack(tmp_path: Path, words: list[str], asked: str) -> None:
    done = made(tmp_path, 'echo "$@" >>"$DOCKER_ASKED"; pwd >>"$DOCKER_ASKED"', *words)

    assert done.returncode == 0, done.stderr
    told = (tmp_path / "asked").read_text().splitlines()
    assert told == ["compose version", str(ROOT), asked, str(ROOT)]
    assert (ROOT / "docker-compose.yml").is_file()


def test_make_fails_with_what_docker_says(tmp_path: Path) -> None:
    refusing = '[ "$2" = version ] || { echo "container worker-0 is unhealthy" >&2; exit 7; }'
    done = made(tmp_path, refusing, "up")

    assert done.returncode != 0
    assert "container worker-0 is unhealthy" in done.stderr


@pytest.mark.parametrize("target", ["up", "down"])
def test_make_says_what_is_missing_where_docker_is(target: str, tmp_path: Path) -> None:
    answer = made(tmp_path, "exit 1", target)

    assert answer.returncode != 0
    assert "needs Docker with Compose 2.24 or later" in answer.stderr
    assert "make demo" in answer.stderr
