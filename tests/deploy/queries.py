"""Every PromQL query of the dashboards and the alert rules, taken apart."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import yaml

from tests.deploy.files import DEPLOY

FILES = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
RULES = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
SCRAPED = {"up", "ALERTS"}
"""Series that Prometheus makes itself."""
WORDS = {"and", "bool", "by", "group_left", "group_right", "ignoring", "inf", "nan", "offset"}
WORDS |= {"on", "or", "unless", "without"}


class Query(NamedTuple):
    """A PromQL expression, and where it is."""

    place: str
    expression: str
    legend: str = ""


def panels() -> list[tuple[str, dict[str, Any]]]:
    """(dashboard and title, panel) of everything that shows numbers."""
    return [
        (f"{name}: {panel['title']}", panel)
        for name, dashboard in DASHBOARDS.items()
        for panel in dashboard["panels"]
        if panel["type"] not in {"row", "text"}
    ]


def panel_queries() -> list[Query]:
    """All queries of all panels."""
    return [
        Query(f"{place} ({target['refId']})", target["expr"], target["legendFormat"])
        for place, panel in panels()
        for target in panel["targets"]
    ]


def other_queries() -> list[Query]:
    """Those of annotations, and the selectors of variables."""
    annotations = [
        Query(f"{name}: {item['name']}", item["expr"], item["textFormat"])
        for name, dashboard in DASHBOARDS.items()
        for item in dashboard["annotations"]["list"]
    ]
    variables = [
        Query(f"{name}: ${item['name']}", selector_of(item["definition"]))
        for name, dashboard in DASHBOARDS.items()
        for item in dashboard["templating"]["list"]
        if item["type"] == "query"
    ]
    return annotations + variables


def alert_queries() -> list[Query]:
    """The expressions of the alert rules."""
    return [Query(alert["alert"], alert["expr"]) for alert in ALERTS]


def selector_of(definition: str) -> str:
    """`label_values(SELECTOR, label)` -> SELECTOR."""
    found = re.fullmatch(r"label_values\((.+), *\w+\)", definition)
    assert found, definition
    return found[1]


def series_names(expression: str) -> set[str]:
    """Series in a PromQL expression: the identifiers left when all else is taken away."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', " ", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    groups = r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
    bare = re.sub(groups, " ", bare)
    identifiers = re.findall(r"(?<![\w.:$])[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)
    return {name for name in identifiers if name.lower() not in WORDS}


def labels_named(expression: str) -> set[str]:
    """Labels that a PromQL expression groups by or selects."""
    groups = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    return {name.strip() for group in groups for name in group.split(",")} | set(selected)


def selectors(expression: str) -> set[str]:
    """The series that an expression selects, each with its labels: `name{...}`."""
    found = set()
    for name in series_names(expression):
        found |= set(re.findall(rf"(?<![\w:]){name}(?![\w:])(?:\{{[^}}]*\}})?", expression))
    return found
