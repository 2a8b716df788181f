"""The Helm chart, rendered by Helm's own code, and judged by the schemas of what it makes.

Helm is a Go library here, so it runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import kubernetes_validate
import yaml

from tests.deploy.files import DEPLOY

CHART = DEPLOY / "helm/slotcast"
RELEASE, NAMESPACE = "slotcast", "forecasts"
HELM = """
import json, sys
import helm_python as helm

chart, release, namespace = sys.argv[1:]
values = json.load(sys.stdin)
with helm.Chart.load(chart) as loaded:
    try:
        rendered = loaded.render(values, name=release, namespace=namespace)
    except helm.HelmError as error:
        sys.exit(str(error))
found = helm.lint(chart, values, strict=True)["messages"]
json.dump({"rendered": rendered, "lint": found}, sys.stdout)
"""
Manifest = dict[str, Any]


class ChartError(Exception):
    """Helm refuses the values, or the templates."""


def rendered(values: Manifest | None = None, release: str = RELEASE) -> dict[str, Manifest]:
    """Manifests by kind and, of several of a kind, by the end of their name."""
    texts = _helm(json.dumps(values or {}), release)["rendered"]
    manifests: dict[str, Manifest] = {}
    for name, text in texts.items():
        for document in yaml.safe_load_all(text) if name.endswith(".yaml") else ():
            kind, label = document["kind"], document["metadata"]["labels"]
            component = label.get("app.kubernetes.io/component")
            manifests[f"{kind}/{component}" if component else kind] = document
    return manifests


def notes(values: Manifest | None = None) -> str:
    """What Helm tells after an installation."""
    return str(_helm(json.dumps(values or {}), RELEASE)["rendered"]["slotcast/templates/NOTES.txt"])


def faults(values: Manifest | None = None) -> list[str]:
    """What `helm lint --strict` complains about; advice is not among it."""
    found = _helm(json.dumps(values or {}), RELEASE)["lint"]
    return [one["error"] for one in found if one["severity"] > 1]


@cache
def _helm(values: str, release: str) -> Any:
    command = [sys.executable, "-c", HELM, str(CHART), release, NAMESPACE]
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChartError(done.stderr)
    return json.loads(done.stdout)


def judge(manifest: Manifest, kubernetes: str) -> None:
    """Raise where a manifest is not as its schema wants it, or has a field that there is not."""
    group = manifest["apiVersion"].partition("/")[0]
    if group in {"keda.sh", "monitoring.coreos.com"}:
        _judge_by_model(manifest)
    else:
        kubernetes_validate.validate(manifest, kubernetes, strict=True)


def _judge_by_model(manifest: Manifest) -> None:
    """A field that the model does not know is lost on the way through it."""
    from cloudcoil.models.keda import v1alpha1
    from cloudcoil.models.prometheus_operator import v1

    module = v1alpha1 if manifest["apiVersion"].startswith("keda.sh") else v1
    model = getattr(module, manifest["kind"]).model_validate(manifest)

    assert model.model_dump(mode="json", by_alias=True, exclude_unset=True) == manifest
