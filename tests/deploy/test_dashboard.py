"""Every query names series of a worker, every panel explains itself, the files are the code's."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scripts.dashboards.__main__ import DASHBOARDS as MADE
from scripts.dashboards.panels import text_of
from slotcast.board.views import InstrumentView, TargetView
from slotcast.metrics import Metrics
from tests.deploy.files import DEPLOY, accepted_by
from tests.deploy.queries import (
    DASHBOARDS,
    FILES,
    SCRAPED,
    Query,
    alert_queries,
    labels_named,
    other_queries,
    panel_queries,
    panels,
    selectors,
    series_names,
)

SCRAPED_LABELS = {"instance", "job", "alertname", "alertstate"}
"""Labels that Prometheus adds."""


def exposition() -> str:
    """What is scraped of a worker to which everything has happened once."""
    metrics = Metrics()
    for one in vars(metrics).values():
        names = getattr(one, "_labelnames", ())
        if names and hasattr(one, "labels"):
            one.labels(*("x" for _ in names))
    target = TargetView("p", 1.0, 1.0, 1.0, 1.0, 1.0, "model", 0.0, 0.9, expected=1.0)
    view = InstrumentView("A", 0, 0, 7, 1_000, 41, 0, [target])
    metrics.instruments.show(lambda: ([view], 1))
    return generate_latest(metrics.registry).decode()


def exposed() -> dict[str, set[str]]:
    """Its series, with the names of their labels."""
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition()):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


EXPOSED = exposed()
QUERIES = [*panel_queries(), *other_queries()]
each_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
each_judged = pytest.mark.parametrize(
    "query", [*QUERIES, *alert_queries()], ids=lambda query: query.place
)
each_panel = pytest.mark.parametrize(
    "panel", [p for _, p in panels()], ids=[n for n, _ in panels()]
)
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


def test_series_are_seen_through_functions_labels_strings_and_ranges() -> None:
    expression = (
        'histogram_quantile(0.99, sum by (le, job) (rate(a_bucket{b=~"$c",d="e(f)"}[$g]))) / on(h)'
        " group_left(i) (j:k:sum offset 5m) > bool 1e5 or l unless Inf"
    )

    assert series_names(expression) == {"a_bucket", "j:k:sum", "l"}
    assert labels_named(expression) == {"le", "job", "b", "d"}
    assert selectors(expression) == {'a_bucket{b=~"$c",d="e(f)"}', "j:k:sum", "l"}


def test_the_files_are_what_the_code_makes() -> None:
    found = {path.name: path.read_text() for path in FILES}

    assert found == {name: text_of(made) for name, made in MADE.items()}, (
        "run  python -m scripts.dashboards"
    )


@each_judged
def test_a_query_names_series_that_a_worker_exposes(query: Query) -> None:
    names = series_names(query.expression)

    assert names
    assert names <= set(EXPOSED) | SCRAPED


@each_judged
def test_a_query_and_its_legend_name_labels_that_the_series_have(query: Query) -> None:
    named = (EXPOSED.get(name, set()) for name in series_names(query.expression))
    known = SCRAPED_LABELS.union(*named)
    shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))

    assert labels_named(query.expression) | shown <= known
    if "by (" in query.expression:
        assert shown <= labels_named(query.expression)


@each_query
def test_a_query_asks_for_the_chosen_workers_only(query: Query) -> None:
    if query.place.endswith("$job"):
        return  # it is what is chosen from
    for selector in selectors(query.expression):
        if not selector.startswith("ALERTS"):
            assert 'job=~"$job"' in selector


def test_every_metric_of_a_worker_is_on_a_dashboard() -> None:
    on_dashboards = set().union(*(series_names(query.expression) for query in panel_queries()))
    base = re.compile(r"_(bucket|count|sum|created)$")
    wanted = {base.sub("", name) for name in EXPOSED if not name.endswith("_created")}

    assert wanted == {base.sub("", name) for name in on_dashboards - SCRAPED}


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


@each_dashboard
def test_panels_have_their_own_ids_and_places(dashboard: dict) -> None:
    every = dashboard["panels"]

    assert len({panel["id"] for panel in every}) == len(every)
    for one, other in itertools.combinations([panel["gridPos"] for panel in every], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in every)


@each_dashboard
def test_a_dashboard_begins_with_numbers_that_fill_a_line(dashboard: dict) -> None:
    heading, *rest = dashboard["panels"]
    first = [panel for panel in rest if panel["gridPos"]["y"] == 1]

    assert (heading["type"], heading["title"]) == ("row", "Now")
    assert {panel["type"] for panel in first} <= {"stat", "text"}
    assert sum(panel["gridPos"]["w"] for panel in first) == 24


@each_dashboard
def test_a_dashboard_follows_the_worker_and_links_to_the_others(dashboard: dict) -> None:
    variables = {item["name"]: item for item in dashboard["templating"]["list"]}
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasource.yml").read_text())["datasources"]
    (link,) = dashboard["links"]

    assert dashboard["schemaVersion"] == 42
    assert dashboard["refresh"] == source["jsonData"]["timeInterval"]
    assert variables["datasource"]["query"] == source["type"] == "prometheus"
    assert variables["job"]["allValue"] == variables["instance"]["allValue"] == ".*"
    assert link["tags"] == dashboard["tags"]
    assert link["includeVars"]
    assert link["keepTime"]


def test_dashboards_keep_their_addresses() -> None:
    found = {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()}

    assert found == {
        "service": "slotcast",
        "forecasts": "slotcast-forecasts",
        "instruments": "slotcast-instruments",
    }


def test_promtool_finds_nothing_to_lint_in_what_is_scraped() -> None:
    scraped = exposition()

    assert "slotcast_relative_error{" in scraped
    assert "slotcast_instrument_skill{" in scraped
    accepted_by("promtool", "check", "metrics", given=scraped)


def test_promtool_accepts_every_query(tmp_path: Path) -> None:
    windows = re.compile(r"\$__rate_interval|\$window")
    rules = [
        {"record": f"query:{number}", "expr": windows.sub("1m", query.expression)}
        for number, query in enumerate(QUERIES)
    ]
    written = tmp_path / "queries.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    accepted_by("promtool", "check", "rules", str(written))
