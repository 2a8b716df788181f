"""Writes the dashboards into deploy/grafana/dashboards."""

from __future__ import annotations

from pathlib import Path

from scripts.dashboards import forecasts, instruments, service
from scripts.dashboards.panels import text_of

FOLDER = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards"
DASHBOARDS = {
    "service.json": service.DASHBOARD,
    "forecasts.json": forecasts.DASHBOARD,
    "instruments.json": instruments.DASHBOARD,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / name).write_text(text_of(dashboard), encoding="utf-8")
