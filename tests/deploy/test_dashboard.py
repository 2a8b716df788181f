"""Every query of the dashboard names series of a worker, and every panel explains itself."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from slotcast.metrics import Metrics
from tests.deploy.files import DEPLOY, accepted_by

DASHBOARD = json.loads((DEPLOY / "grafana/slotcast.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds to every series."""
WORDS = {"and", "bool", "by", "group_left", "group_right", "ignoring", "inf", "nan", "offset"}
WORDS |= {"on", "or", "unless", "without"}


class Query(NamedTuple):
    """A PromQL expression, and where it is."""

    place: str
    expression: str
    legend: str = ""


def queries() -> list[Query]:
    """All expressions of panels, annotations and variables."""
    panels = [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in PANELS
        for target in panel["targets"]
    ]
    annotations = [
        Query(item["name"], item["expr"], item["textFormat"])
        for item in DASHBOARD["annotations"]["list"]
        if "expr" in item
    ]
    variables = [
        Query(item["name"], item["definition"].removeprefix("label_values(").split(",")[0])
        for item in DASHBOARD["templating"]["list"]
        if item["type"] == "query"
    ]
    return panels + annotations + variables


def series_names(expression: str) -> set[str]:
    """Series in a PromQL expression: the identifiers left when all else is taken away."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', " ", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    identifiers = re.findall(r"(?<![\w.:$])[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)
    return {name for name in identifiers if name.lower() not in WORDS}


def labels_named(expression: str) -> set[str]:
    """Labels that a PromQL expression groups by or selects."""
    groups = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    return {name.strip() for group in groups for name in group.split(",")} | set(selected)


def exposed() -> dict[str, set[str]]:
    """Series of a worker to which everything has happened once, with the names of their labels."""
    metrics = Metrics()
    metrics.rejects.labels(reason="not-json").inc()
    metrics.recoveries.labels(cause="start").inc()
    metrics.decisions.labels(policy="cold", cause="retention").inc()
    metrics.partitions.labels(phase="live").set(1)
    metrics.lag.labels(partition="0").set(0)
    metrics.aborts.labels(cause="CommitFailed").inc()
    metrics.snapshot_age.labels(partition="0").set(0)
    metrics.coverage.labels(level="0.9").set(0.9)
    metrics.info.labels(version="0", bundle="0", numerics="0").set(1)
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


each_query = pytest.mark.parametrize("query", queries(), ids=lambda query: query.place)
each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def test_series_are_seen_through_functions_labels_strings_and_ranges() -> None:
    expression = (
        'histogram_quantile(0.99, sum by (le, job) (rate(a_bucket{b=~"$c",d="e(f)"}[$g]))) / on(h)'
        " group_left(i) (j:k:sum offset 5m) > bool 1e5 or l unless Inf"
    )

    assert series_names(expression) == {"a_bucket", "j:k:sum", "l"}
    assert labels_named(expression) == {"le", "job", "b", "d"}


@each_query
def test_a_query_names_series_that_a_worker_exposes(query: Query) -> None:
    names = series_names(query.expression)

    assert names
    assert names <= set(exposed())


@each_query
def test_a_query_and_its_legend_name_labels_that_the_series_have(query: Query) -> None:
    series = exposed()
    known = SCRAPED.union(*(series[name] for name in series_names(query.expression)))
    shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))

    assert labels_named(query.expression) | shown <= known
    if "by (" in query.expression:
        assert shown <= labels_named(query.expression)


@each_panel
def test_a_panel_has_a_unit_a_description_and_the_chosen_data_source(panel: dict) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert panel["description"].endswith(".")
    for part in [panel, *panel["targets"]]:
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_panel
def test_the_legends_of_a_panel_tell_its_lines_apart(panel: dict) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    letters = [target["refId"] for target in panel["targets"]]

    assert all(legends)
    assert len(set(legends)) == len(set(letters)) == len(legends)


def test_panels_have_their_own_ids_and_places() -> None:
    every = DASHBOARD["panels"]

    assert len({panel["id"] for panel in every}) == len(every)
    for one, other in itertools.combinations([panel["gridPos"] for panel in every], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in every)


def test_the_dashboard_keeps_its_address_and_follows_the_worker() -> None:
    variables = {item["name"]: item for item in DASHBOARD["templating"]["list"]}
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasource.yml").read_text())["datasources"]

    assert DASHBOARD["uid"] == "slotcast"
    assert DASHBOARD["schemaVersion"] == 42
    assert DASHBOARD["refresh"] == source["jsonData"]["timeInterval"]
    assert variables["datasource"]["query"] == source["type"] == "prometheus"
    assert variables["instance"]["allValue"] == ".*"


def test_promtool_accepts_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.expression.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries())
    ]
    written = tmp_path / "queries.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    accepted_by("promtool", "check", "rules", str(written))
