"""The chart gives a cluster what docs/deploy.md says, and a worker settings that it takes."""

from __future__ import annotations

import copy
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

import slotcast
from slotcast.api.app import create_app
from slotcast.bootstrap import Service
from slotcast.config_faults import ConfigError
from slotcast.metrics import Metrics
from slotcast.settings import HttpSettings, Settings
from tests.deploy.chart import CHART, RELEASE, ChartError, Manifest, faults, judge, notes, rendered
from tests.deploy.files import DEPLOY, ROOT, instructions
from tests.unit.fake_readings import FakeReadings, alone

EVERYTHING = {
    "imagePullSecrets": [{"name": "registry"}],
    "env": {"SLOTCAST_WORKER__SLOTS": "4096"},
    "secretFiles": {"SLOTCAST_KAFKA__PASSWORD_FILE": {"secret": "kafka", "key": "sasl"}},
    "volumes": [{"name": "bundle", "configMap": {"name": "bundle"}}],
    "volumeMounts": [{"name": "bundle", "mountPath": "/etc/bundle"}],
    "service": {"annotations": {"team": "wells"}},
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"team": "metrics"}}}]},
    "keda": {"enabled": True, "authentication": "kafka", "metadata": {"tls": "enable"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"team": "wells"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "wells", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
LEAST: Manifest = {
    name: {"enabled": False} for name in ("podDisruptionBudget", "networkPolicy")
} | {"secretFiles": {"SLOTCAST_HTTP__TOKEN_FILE": None}}
CLUSTERS = ["1.27", kubernetes_validate.latest_version()]
"""The oldest that the chart takes, and the newest whose schemas are at hand."""
POD = {"metadata.name": f"{RELEASE}-1", "status.podIP": "10.0.0.7"}
each_kind = pytest.mark.parametrize("kind", rendered(EVERYTHING))


def pod(values: Manifest | None = None, release: str = RELEASE) -> Manifest:
    return rendered(values, release)["StatefulSet"]["spec"]["template"]


def worker(values: Manifest | None = None) -> Manifest:
    (container,) = pod(values)["spec"]["containers"]
    return container


def environment(values: Manifest | None = None) -> dict[str, str]:
    """What a worker's container sees in the pod `POD`."""
    told: dict[str, str] = {}
    for one in worker(values)["env"]:
        field = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        value = POD[field] if field else one["value"]
        told[one["name"]] = re.sub(r"\$\((\w+)\)", lambda name: told[name[1]], value)
    return told


def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, values: Manifest) -> Settings:
    """What a worker makes of its file, its environment and its secrets."""
    for variable in [name for name in os.environ if name.startswith("SLOTCAST_")]:
        monkeypatch.delenv(variable)
    for name, value in environment(values).items():
        if name.endswith("_FILE"):
            (tmp_path / name).write_text(f"what {Path(value).name} holds\n")
        monkeypatch.setenv(name, str(tmp_path / name) if name.endswith("_FILE") else value)
    config = tmp_path / "slotcast.toml"
    config.write_text(rendered(values)["ConfigMap"]["data"]["slotcast.toml"])
    return Settings.load(config)


@pytest.mark.parametrize("values", [{}, EVERYTHING, LEAST], ids=["default", "everything", "least"])
def test_helm_finds_no_fault(values: Manifest) -> None:
    assert faults(values) == []


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("values", [{}, EVERYTHING, LEAST], ids=["default", "everything", "least"])
def test_a_cluster_accepts_every_manifest(values: Manifest, cluster: str) -> None:
    for manifest in rendered(values).values():
        judge(manifest, cluster)


@each_kind
def test_a_field_that_a_kind_does_not_have_is_found(kind: str) -> None:
    wrong = copy.deepcopy(rendered(EVERYTHING)[kind])
    wrong["data" if kind == "ConfigMap" else "spec"]["replicaz"] = 3

    with pytest.raises((AssertionError, kubernetes_validate.ValidationError)):
        judge(wrong, CLUSTERS[0])


@each_kind
def test_a_manifest_is_named_and_labelled_after_its_release(kind: str) -> None:
    metadata = rendered(EVERYTHING, "wells")[kind]["metadata"]

    assert metadata["name"] in {"wells-slotcast", "wells-slotcast-workers"}
    assert metadata["labels"]["app.kubernetes.io/instance"] == "wells"
    assert metadata["labels"]["app.kubernetes.io/name"] == "slotcast"


def test_the_chart_has_the_version_of_the_package_and_runs_its_image() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["version"] == chart["appVersion"] == slotcast.__version__
    assert worker()["image"] == f"slotcast:{slotcast.__version__}"
    assert chart["kubeVersion"] == f">={CLUSTERS[0]}.0-0"


def test_a_worker_takes_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, tmp_path, {"env": {"SLOTCAST_WORKER__SLOTS": "4096"}})

    assert found.kafka.instance_id == POD["metadata.name"]
    assert found.http.advertise == f"http://{POD['status.podIP']}:{found.http.port}"
    assert found.http.host == "0.0.0.0"
    assert [one["containerPort"] for one in worker()["ports"]] == [found.http.port]
    assert found.http.token is not None
    assert found.http.token.get_secret_value() == "what SLOTCAST_HTTP__TOKEN_FILE holds"
    assert found.worker.slots == 4096


def test_a_worker_proves_itself_to_broker_and_store_with_what_secrets_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    (sample,) = re.findall(r"(?s)```yaml\n(secretFiles:.*?)```", page)
    kafka = 'bootstrap_servers = "broker:9093"\nsecurity_protocol = "SASL_SSL"\nusername = "wells"'

    found = settings(
        monkeypatch, tmp_path, yaml.safe_load(sample) | {"config": f"[kafka]\n{kafka}"}
    )

    assert found.kafka.password is not None
    assert found.store.password is not None
    assert found.kafka.password.get_secret_value() == "what SLOTCAST_KAFKA__PASSWORD_FILE holds"
    assert found.kafka.ca_file == tmp_path / "SLOTCAST_KAFKA__CA_FILE"


def test_resets_are_open_only_where_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="anyone_may_reset"):
        settings(monkeypatch, tmp_path, LEAST)

    said = LEAST | {"env": {"SLOTCAST_HTTP__ANYONE_MAY_RESET": "true"}}
    assert settings(monkeypatch, tmp_path, said).http.token is None


def test_a_pod_that_is_back_soon_keeps_its_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = settings(monkeypatch, tmp_path, {}).kafka

    assert kafka.session_timeout_ms == 15_000
    assert kafka.max_poll_interval_ms >= kafka.session_timeout_ms, "librdkafka insists on it"


def test_the_environment_goes_over_what_the_chart_says() -> None:
    told = environment(
        {"env": {"SLOTCAST_HTTP__HOST": "::"}, "advertise": "http://[$(POD_IP)]:8080"}
    )

    assert told["SLOTCAST_HTTP__HOST"] == "::"
    assert told["SLOTCAST_HTTP__ADVERTISE"] == f"http://[{POD['status.podIP']}]:8080"


def test_secrets_are_files_from_secrets_by_reference_and_nothing_else() -> None:
    spec = pod(EVERYTHING)["spec"]
    (volume,) = [one for one in spec["volumes"] if one["name"] == "secrets"]
    (mount,) = [one for one in worker(EVERYTHING)["volumeMounts"] if one["name"] == "secrets"]
    items = {
        item["path"]: (source["secret"]["name"], item["key"])
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    told = environment(EVERYTHING)

    assert items["SLOTCAST_KAFKA__PASSWORD_FILE"] == ("kafka", "sasl")
    assert items["SLOTCAST_HTTP__TOKEN_FILE"] == ("slotcast", "http-token")
    assert {told[name] for name in items} == {f"{mount['mountPath']}/{name}" for name in items}
    assert mount["readOnly"]
    assert not any(kind.startswith("Secret") for kind in rendered(EVERYTHING))
    assert "secrets" not in [one["name"] for one in pod(LEAST)["spec"]["volumes"]]


def test_probes_ask_what_the_service_answers() -> None:
    api = create_app(FakeReadings(["a"]), Metrics(CollectorRegistry()), HttpSettings(), alone())
    probes = {name: one for name, one in worker().items() if name.endswith("Probe")}
    asked = {name: one["httpGet"]["path"] for name, one in probes.items()}

    assert asked == {
        "startupProbe": "/v2/health/live",
        "livenessProbe": "/v2/health/live",
        "readinessProbe": "/v2/health/ready",
    }
    assert set(asked.values()) <= set(api.openapi()["paths"])
    assert {one["httpGet"]["port"] for one in probes.values()} == {worker()["ports"][0]["name"]}


def test_the_grace_is_longer_than_a_clean_stop() -> None:
    longest_s = inspect.signature(Service.stop).parameters["timeout_s"].default

    assert pod()["spec"]["terminationGracePeriodSeconds"] >= longest_s + 10


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    spec = pod()["spec"]
    user, group = map(int, dict(instructions())["USER"].split(":"))

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == user
    assert spec["securityContext"]["fsGroup"] == group
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_the_compiled_loops_of_the_image_are_where_a_worker_may_write_more() -> None:
    (first,) = pod()["spec"]["initContainers"]
    cache = dict(word.split("=", 1) for word in dict(instructions())["ENV"].split())
    folder = f"{cache['XDG_CACHE_HOME']}/slotcast"
    (place,) = [one for one in worker()["volumeMounts"] if one["name"] == "cache"]
    (copied_to,) = [one["mountPath"] for one in first["volumeMounts"] if one["name"] == "cache"]

    assert first["image"] == worker()["image"]
    assert first["command"][-2:] == [folder, copied_to]
    assert place["mountPath"] == folder
    assert place["subPath"] == Path(folder).name, "everybody may write to the volume's own folder"


def test_every_mount_is_a_volume_and_the_configuration_is_where_the_command_looks() -> None:
    spec = pod(EVERYTHING)["spec"]
    volumes = {one["name"] for one in spec["volumes"]}
    mounted = {one["name"]: one["mountPath"] for one in worker(EVERYTHING)["volumeMounts"]}

    assert set(mounted) == volumes
    assert Path(worker()["args"][-1]) == Path(mounted["config"]) / "slotcast.toml"
    assert list(rendered()["ConfigMap"]["data"]) == ["slotcast.toml"]


def test_no_variable_of_a_service_is_taken_for_a_setting() -> None:
    assert pod()["spec"]["enableServiceLinks"] is False


def test_another_configuration_is_another_pod() -> None:
    one, other = (pod(values)["metadata"]["annotations"] for values in ({}, {"config": "[http]\n"}))

    assert one["checksum/config"] != other["checksum/config"]


def selectors(release: str) -> Iterator[dict[str, str]]:
    """What selects pods."""
    found = rendered({}, release)
    yield found["Service/api"]["spec"]["selector"]
    yield found["Service/workers"]["spec"]["selector"]
    yield found["StatefulSet"]["spec"]["selector"]["matchLabels"]
    yield found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    yield found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    for spread in pod({}, release)["spec"]["topologySpreadConstraints"]:
        yield spread["labelSelector"]["matchLabels"]


def test_selectors_select_the_pods_of_their_release_only() -> None:
    own, other = (pod({}, release)["metadata"]["labels"] for release in ("wells", "quotes"))

    for selector in selectors("wells"):
        assert selector.items() <= own.items()
        assert not selector.items() <= other.items()


def test_services_lead_to_the_workers_port_and_one_lists_those_that_recover_too() -> None:
    found = rendered()
    headless = found["Service/workers"]

    assert found["StatefulSet"]["spec"]["serviceName"] == headless["metadata"]["name"]
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["publishNotReadyAddresses"] is True
    for service in (headless, found["Service/api"]):
        assert [one["targetPort"] for one in service["spec"]["ports"]] == ["http"]


def test_a_page_stays_with_one_worker_unless_it_shall_not() -> None:
    """Its events, its slots and its free runs are requests of their own."""
    spread = rendered({"service": {"sessionAffinity": "None"}})

    assert rendered()["Service/api"]["spec"]["sessionAffinity"] == "ClientIP"
    assert spread["Service/api"]["spec"]["sessionAffinity"] == "None"
    assert "sessionAffinity" not in rendered()["Service/workers"]["spec"]


def test_readers_and_workers_reach_a_worker_and_it_reaches_broker_and_store() -> None:
    spec = rendered(EVERYTHING)["NetworkPolicy"]["spec"]
    (ingress,) = spec["ingress"]
    peers = [*ingress["from"]]
    asked = {port["port"] for rule in spec["egress"] for port in rule["ports"]}

    assert peers.pop(0)["podSelector"] == spec["podSelector"]
    assert peers == EVERYTHING["networkPolicy"]["from"]
    assert [port["port"] for port in ingress["ports"]] == ["http"]
    assert asked == {53, 9092, 6379, "http"}


def test_nodes_are_drained_one_worker_at_a_time() -> None:
    budget = rendered()["PodDisruptionBudget"]["spec"]

    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_keda_follows_the_lag_of_what_the_workers_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"keda": {"enabled": True}, "env": {"SLOTCAST_KAFKA__GROUP": "wells"}}
    kafka = settings(monkeypatch, tmp_path, values).kafka
    found = rendered(values)
    (trigger,) = found["ScaledObject"]["spec"]["triggers"]

    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["bootstrapServers"] == kafka.bootstrap_servers
    assert trigger["metadata"]["consumerGroup"] == kafka.group == "wells"
    assert trigger["metadata"]["topic"] == kafka.ticks
    assert found["ScaledObject"]["spec"]["maxReplicaCount"] == kafka.partitions
    assert found["ScaledObject"]["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": found["StatefulSet"]["metadata"]["name"],
    }
    assert "replicas" not in found["StatefulSet"]["spec"]
    assert kafka.leave_on_stop


def test_only_with_keda_do_stopped_workers_leave_their_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = {"keda": {"enabled": True}, "env": {"SLOTCAST_KAFKA__LEAVE_ON_STOP": "false"}}

    for values in ({}, stays):
        assert not settings(monkeypatch, tmp_path, values).kafka.leave_on_stop


def test_large_numbers_are_written_out() -> None:
    values = {"keda": {"enabled": True, "lagThreshold": 5_000_000, "maxReplicas": 12}}
    spec = rendered(values)["ScaledObject"]["spec"]

    assert spec["triggers"][0]["metadata"]["lagThreshold"] == "5000000"
    assert spec["maxReplicaCount"] == 12


def test_prometheus_gets_the_workers_and_alerts_of_the_stack() -> None:
    found = rendered(EVERYTHING)
    monitor = found["ServiceMonitor"]["spec"]
    alerts = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
    chosen = monitor["selector"]["matchLabels"].items()

    assert found["PrometheusRule"]["spec"] == alerts
    assert chosen <= found["Service/workers"]["metadata"]["labels"].items()
    assert not chosen <= found["Service/api"]["metadata"]["labels"].items()
    assert found["Service/workers"]["metadata"]["labels"][monitor["jobLabel"]] == "slotcast"
    assert 'up{job="slotcast"}' in alerts["groups"][0]["rules"][0]["expr"]
    assert [one["port"] for one in monitor["endpoints"]] == ["http"]


def test_alerts_link_to_their_runbooks_where_these_can_be_read() -> None:
    base = "https://wiki.example/wells/runbooks?plain=1"
    values = {"prometheusRule": {"enabled": True, "runbooks": base}}
    text = (DEPLOY / "prometheus/alerts.yml").read_text()
    linked = text.replace("runbook: docs/runbooks.md#", f"runbook_url: {base}#")

    found = rendered(values)["PrometheusRule"]["spec"]

    assert linked.count(f"runbook_url: {base}#slotcast") == text.count("- alert: ") > 10
    assert found == yaml.safe_load(linked)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"prometheusRule": {"runbooks": "docs/runbooks.md"}}, "does not match pattern"),
        ({"replica": 3}, "'replica' not allowed"),
        ({"keda": {"lag": 3}}, "'lag' not allowed"),
        ({"env": {"SLOTCAST_WORKER__SLOTS": 4096}}, "got number, want string"),
        ({"env": {"PASSWORD": "x"}}, "'PASSWORD' does not match"),
        ({"secretFiles": {"SLOTCAST_HTTP__TOKEN": {"secret": "a", "key": "b"}}}, "does not match"),
        ({"config": "kafka: {}"}, "config is no TOML"),
        ({"config": "[http]\n", "keda": {"enabled": True}}, "needs [kafka] bootstrap_servers"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_values_that_mean_nothing_are_refused(values: Manifest, why: str) -> None:
    with pytest.raises(ChartError, match=re.escape(why)):
        rendered(values)


def test_helm_says_where_the_page_is_and_that_workers_are_too_many() -> None:
    assert f"port-forward service/{RELEASE} 8080:8080" in notes()
    assert "never ready" not in notes()
    assert "There are 9 workers and, as the config says, 4 partitions" in notes({"replicas": 9})


def leaves(values: Any, path: str = "") -> Iterator[str]:
    """Names of the values, `keda.enabled`; a map that is filled by its user is one value."""
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in {"secretFiles", "resources"}:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_every_value_is_in_the_schema_and_in_the_docs() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]
    page = (ROOT / "docs/deploy.md").read_text()

    assert set(values) == set(schema) - {"global"}
    assert [name for name in leaves(values) if f"`{name}`" not in page] == []
