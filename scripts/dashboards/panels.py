"""Panels and dashboards in the few words in which they differ.

In queries `$W` stands for the chosen workers, `$P` for the chosen partitions of these workers, and
`$R` for a window that fits the scrapes. A panel is placed after the one before it, from left to
right; a row begins a new line. Every panel has a unit and says what it shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WORKERS = 'job=~"$job",instance=~"$instance"'
MARKS = {
    "$W": WORKERS,
    "$P": f'{WORKERS},partition=~"$partition"',
    "$R": "$__rate_interval",
}
REFRESH = "5s"
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
PLAIN = ((None, BLUE),)


def filled(query: str) -> str:
    """The query with its marks replaced."""
    for mark, meaning in MARKS.items():
        query = query.replace(mark, meaning)
    return query


def row(title: str) -> Json:
    """A heading over the panels that follow."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


def stat(
    title: str,
    query: str,
    unit: str,
    about: str,
    steps: Sequence[tuple[float | None, str]] = PLAIN,
    says: Mapping[float, tuple[str, str]] | None = None,
    size: tuple[int, int] = (3, 4),
    **defaults: Any,
) -> Json:
    """One number; coloured from each step on, or in words (`says`: value -> text, colour)."""
    options = {
        "colorMode": "value",
        "graphMode": "none" if says else "area",
        "justifyMode": "center",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
        "wideLayout": True,
    }
    panel = _panel("stat", title, about, size, [(title.lower(), query)], options)
    panel["fieldConfig"]["defaults"] = _defaults(unit, steps, **defaults) | {
        "mappings": _mappings(says or {}),
        "color": {"mode": "thresholds"},
    }
    return panel


def lines(
    title: str,
    queries: Mapping[str, str],
    unit: str,
    about: str,
    size: tuple[int, int] = (8, 8),
    stacked: bool = False,
    overrides: Sequence[Json] = (),
    **defaults: Any,
) -> Json:
    """Lines over time; `queries` are legend -> query. `stacked` parts add up to their whole."""
    options = {
        "legend": {
            "calcs": ["lastNotNull", "max"],
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    panel = _panel("timeseries", title, about, size, list(queries.items()), options)
    panel["fieldConfig"] = {
        "defaults": _defaults(unit, PLAIN, **defaults)
        | {
            "color": {"mode": "palette-classic"},
            "custom": {
                "drawStyle": "line",
                "fillOpacity": 30 if stacked else 8,
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
            },
        },
        "overrides": list(overrides),
    }
    return panel


def heatmap(title: str, query: str, unit: str, about: str, size: tuple[int, int]) -> Json:
    """How a histogram's buckets fill over time; `query` gives increases by `le`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": unit},
    }
    panel = _panel("heatmap", title, about, size, [("{{le}}", query)], options)
    panel["targets"][0]["format"] = "heatmap"
    panel["fieldConfig"]["defaults"] = _defaults(unit, PLAIN)
    return panel


def table(
    title: str,
    columns: Mapping[str, str],
    about: str,
    keys: Mapping[str, str],
    size: tuple[int, int] = (24, 9),
    units: Mapping[str, str] | None = None,
) -> Json:
    """The last values, one column per query, joined by labels (`keys`: label -> heading)."""
    options = {"cellHeight": "sm", "footer": {"show": False}, "showHeader": True}
    panel = _panel("table", title, about, size, list(columns.items()), options)
    for target in panel["targets"]:
        target |= {"format": "table", "instant": True, "range": False}
    letters = {target["refId"]: target["legendFormat"] for target in panel["targets"]}
    shown = dict(keys)
    shown |= {f"Value #{letter}": heading for letter, heading in letters.items()}
    if len(columns) == 1:
        shown["Value"] = next(iter(columns))
    panel["transformations"] = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "indexByName": {name: place for place, name in enumerate(shown)},
                "renameByName": shown,
            },
        },
        {
            "id": "filterFieldsByName",
            "options": {"include": {"names": [*shown.values()]}},
        },
    ]
    panel["fieldConfig"] = {
        "defaults": _defaults("short", PLAIN) | {"custom": {"align": "auto", "filterable": True}},
        "overrides": [
            {
                "matcher": {"id": "byName", "options": heading},
                "properties": [{"id": "unit", "value": unit}],
            }
            for heading, unit in (units or {}).items()
        ],
    }
    return panel


def note(text: str, size: tuple[int, int]) -> Json:
    """Words instead of numbers."""
    options = {"mode": "markdown", "content": text}
    return {"type": "text", "title": "", "options": options, "size": size}


def band(lower: str, upper: str) -> list[Json]:
    """Overrides that paint the band between two lines of a panel."""
    bare = [{"id": "custom.lineWidth", "value": 0}, {"id": "color", "value": _fixed("gray")}]
    filled_below = [
        {"id": "custom.fillBelowTo", "value": lower},
        {"id": "custom.fillOpacity", "value": 15},
    ]
    return [
        {"matcher": {"id": "byName", "options": lower}, "properties": bare},
        {"matcher": {"id": "byName", "options": upper}, "properties": [*bare, *filled_below]},
    ]


def chooser(name: str, label: str, query: str, *, many: bool = True) -> Json:
    """A variable with the values of a label: all of them, unless chosen."""
    query = filled(query)
    found = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": name},
        "refresh": 2,
        "sort": 3,
        "includeAll": many,
        "multi": many,
        "options": [],
    }
    if many:
        everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
        found |= {"allValue": ".*", "current": everything}
    return found


def window(*lengths: str) -> Json:
    """A variable for how far counters are looked back; the second is chosen at first."""
    return {
        "name": "window",
        "label": "Looking back",
        "type": "custom",
        "query": ",".join(lengths),
        "current": {"selected": True, "text": lengths[1], "value": lengths[1]},
        "includeAll": False,
        "multi": False,
        "options": [{"text": one, "value": one, "selected": one == lengths[1]} for one in lengths],
    }


def dashboard(uid: str, title: str, about: str, panels: Sequence[Json], *variables: Json) -> Json:
    """A dashboard for some workers, linked with all others of slotcast."""
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "includeAll": False,
        "multi": False,
        "options": [],
    }
    job = chooser("job", "Job", "label_values(slotcast_info, job)")
    instance = chooser("instance", "Worker", 'label_values(slotcast_info{job=~"$job"}, instance)')
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["slotcast"],
        "schemaVersion": 42,
        "editable": True,
        "graphTooltip": 1,
        "refresh": REFRESH,
        "time": {"from": "now-15m", "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "slotcast",
                "tags": ["slotcast"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            }
        ],
        "annotations": {"list": [_recoveries()]},
        "templating": {"list": [source, job, instance, *variables]},
        "panels": _placed(panels),
    }


def text_of(made: Json) -> str:
    """As it is written to its file."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _panel(
    kind: str,
    title: str,
    about: str,
    size: tuple[int, int],
    queries: Sequence[tuple[str, str]],
    options: Json,
) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + i),
            "datasource": SOURCE,
            "expr": filled(query),
            "legendFormat": legend,
            "range": True,
        }
        for i, (legend, query) in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "size": size,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": options,
        "targets": targets,
    }


def _defaults(unit: str, steps: Sequence[tuple[float | None, str]], **more: Any) -> Json:
    colours = [{"value": value, "color": colour} for value, colour in steps]
    return {
        "unit": unit,
        "noValue": "-",
        "thresholds": {"mode": "absolute", "steps": colours},
    } | more


def _mappings(says: Mapping[float, tuple[str, str]]) -> list[Json]:
    options = {
        f"{value:g}": {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(says.items())
    }
    return [{"type": "value", "options": options}] if options else []


def _fixed(colour: str) -> Json:
    return {"mode": "fixed", "fixedColor": colour}


def _recoveries() -> Json:
    return {
        "name": "Recoveries",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "orange",
        "expr": filled("sum by (cause) (increase(slotcast_recoveries_total{$W}[$R])) > 0"),
        "step": "15s",
        "titleFormat": "Recovery",
        "textFormat": "{{cause}}",
    }


def _placed(panels: Sequence[Json]) -> list[Json]:
    """With ids and places: from left to right, and a new line where one is full."""
    placed, x, y, tall = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        width, height = panel["size"]
        if x + width > 24:
            x, y, tall = 0, y + tall, 0
        place = {"x": x, "y": y, "w": width, "h": height}
        bare = {name: value for name, value in panel.items() if name != "size"}
        placed.append({"id": number, "gridPos": place, **bare})
        x, tall = x + width, max(tall, height)
    return placed
