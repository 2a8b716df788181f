"""Every alert is silent when it should be, fires when it should, and tells what to do."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.deploy.files import ROOT, accepted_by
from tests.deploy.queries import ALERTS

CASES = ROOT / "tests/deploy/alerts.test.yml"
RUNBOOKS = ROOT / "docs/runbooks.md"

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict) -> None:
    name, told = alert["alert"], alert["annotations"]
    _, _, entry = RUNBOOKS.read_text().partition(f"\n## {name}\n")
    entry = entry.partition("\n## ")[0]

    assert set(told) == {"summary", "description", "runbook"}  # no `runbook_url`: it is a path
    assert told["runbook"] == f"docs/runbooks.md#{name.lower()}"
    assert told["description"].endswith(".")
    assert re.findall(r"\*\*(\w+)\*\*", entry) == ["Means", "Look", "Do"]
    assert f", {alert['labels']['severity']}" in entry.partition("**Look**")[0].replace("\n", " ")


def test_runbooks_have_no_entry_without_an_alert() -> None:
    headings = re.findall(r"(?m)^## (\w+)$", RUNBOOKS.read_text())

    assert headings == [alert["alert"] for alert in ALERTS]


@each_alert
def test_an_alert_is_tested_silent_and_firing(alert: dict) -> None:
    asked = [
        bool(one.get("exp_samples"))
        for case in yaml.safe_load(CASES.read_text())["tests"]
        for one in case["promql_expr_test"]
        if f'ALERTS{{alertname="{alert["alert"]}", alertstate="firing"}}' in one["expr"]
    ]

    assert set(asked) == {False, True}


def test_promtool_finds_every_alert_silent_and_firing_when_it_should_be() -> None:
    accepted_by("promtool", "test", "rules", str(CASES))
