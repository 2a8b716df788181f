"""What is wrong with a configuration, in one line: which setting, why, and what may be meant.

Repeats no value, which may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


class ConfigError(ValueError):
    """Settings that cannot be used; the message names them and the ways out."""


def told(error: ValidationError, model: type[BaseModel], path: Path | None) -> ConfigError:
    """The error for these faults of settings read for `model`, from `path` and the environment."""
    faults = "; ".join(_fault(fault, model) for fault in error.errors(include_url=False))
    where = f"{path} or the environment" if path else "the environment"
    return ConfigError(f"in {where}: {faults}; docs/configuration.md lists all settings")


def _fault(fault: ErrorDetails, model: type[BaseModel]) -> str:
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] != "extra_forbidden":
        why = fault["msg"].removeprefix("Value error, ")
        return f"{place}: {why}" if place else why
    *parents, name = map(str, fault["loc"])
    likely = get_close_matches(name, _names(_section(model, parents)), 1)
    meant = f", is {'.'.join([*parents, likely[0]])} meant?" if likely else ""
    return f"there is no setting {place}{meant}"


def _section(model: Any, parents: list[str]) -> Any:
    for parent in parents:
        fields = getattr(model, "model_fields", {})
        found = next((f.annotation for n, f in fields.items() if parent in (n, f.alias)), None)
        maybe = [one for one in get_args(found) if hasattr(one, "model_fields")]
        model = maybe[0] if maybe else found
    return model


def _names(model: Any) -> Iterator[str]:
    for name, field in getattr(model, "model_fields", {}).items():
        yield field.alias or name
