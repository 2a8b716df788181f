"""The rows that the reference pages must hold, made from the code.

`python -m tests.unit.doc_rows` prints all of them, page by page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast, get_args, get_origin

import typer
from prometheus_client import CollectorRegistry, Metric
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from slotcast.cli import app
from slotcast.metrics import Metrics
from slotcast.records.ticks import REASONS
from slotcast.settings import Settings
from slotcast_models.rules import FoldRules
from slotcast_models.schema import Quantity, TickSchema


def sections() -> dict[str, type[BaseModel]]:
    """The sections of the configuration file but `[schema]`, by name."""
    fields = {name: field for name, field in Settings.model_fields.items() if not field.alias}
    return {name: cast(type[BaseModel], field.annotation) for name, field in fields.items()}


def setting_rows() -> list[str]:
    """Every setting: name, default, environment variable, description."""
    prefix, between = Settings.model_config["env_prefix"], "__"
    return [
        f"| `{name}` | {_default(field.default)} "
        f"| `{prefix}{section.upper()}{between}{name.upper()}` | {_description(field)} |"
        for section, model in sections().items()
        for name, field in model.model_fields.items()
    ]


def field_rows(model: type[BaseModel]) -> list[str]:
    """Every field of a model that has no environment variables: name, default, description."""
    return [
        f"| `{name}` | {_default(field.default)} | {_description(field)} |"
        for name, field in model.model_fields.items()
    ]


def manifest_and_schema_rows() -> list[str]:
    """The schema, its quantities, and the manifest's rules."""
    return [row for model in (TickSchema, Quantity, FoldRules) for row in field_rows(model)]


def command_rows() -> list[str]:
    """Every argument and option of every command."""
    rows = []
    for name, command in commands():
        rows += [f"## {name}"]
        for parameter in command.params:
            if parameter.name != "help":
                rows.append(
                    f"| `{parameter.opts[0]}` | {_default(parameter.default)} | {parameter.help} |"
                )
    return rows


def commands() -> Iterator[tuple[str, Any]]:
    """(words on the command line, command) of every command of the program."""

    def below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield words, command
        for name, child in getattr(command, "commands", {}).items():
            yield from below(f"{words} {name}", child)

    return below("slotcast", typer.main.get_command(app))


def metric_rows() -> list[str]:
    """Every metric: name as scraped, type, labels, description."""
    metrics = Metrics(CollectorRegistry())
    labels = {
        getattr(one, "_name", ""): getattr(one, "_labelnames", ()) for one in vars(metrics).values()
    }
    return [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} "
        f"| {', '.join(f'`{label}`' for label in labels.get(family.name, labels_of(family)))} "
        f"| {family.documentation} |"
        for family in metrics.registry.collect()
    ]


def labels_of(family: Metric) -> Sequence[str]:
    """Labels of a family that is made at the scrape."""
    return getattr(family, "_labelnames", ())


def reason_rows() -> list[str]:
    """Every reason for a dead letter."""
    return [f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items()]


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in (None, (), ""):
        return "-"
    if isinstance(value, bool | tuple):
        value = json.dumps(value)
    return f"`{value}`"


def _description(field: Any) -> str:
    if get_origin(field.annotation) is Literal:
        choices = ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
        return f"{field.description} One of {choices}."
    return str(field.description)


REFERENCE = {
    "docs/configuration.md": lambda: setting_rows() + manifest_and_schema_rows(),
    "docs/commands.md": command_rows,
    "docs/metrics.md": metric_rows,
    "docs/records.md": reason_rows,
}
"""Page -> the lines that it must have."""


if __name__ == "__main__":
    for page, rows in REFERENCE.items():
        print(f"\n{page}", *rows(), sep="\n")  # noqa: T201
