"""The OpenAPI document: every path with every answer it can give, problems included."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from slotcast.api import problems, records
from slotcast.api.problems import PROBLEM_JSON, Kind, Problem

SCHEMAS = "#/components/schemas/"


def fails(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these kinds of problem."""
    by_status: dict[int | str, list[Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _response(group) for status, group in by_status.items()}


def _response(kinds: list[Kind]) -> dict[str, Any]:
    return {
        "description": "; or ".join(f"{kind.title} (`{kind.name}`)" for kind in kinds),
        "content": {PROBLEM_JSON: {"schema": {"$ref": f"{SCHEMAS}Problem"}}},
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once. Adds what FastAPI cannot know: problems and stream events."""
    if not app.openapi_schema:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _complete(made["paths"])
        _add_schemas(made["components"]["schemas"])
        made["x-problems"] = [
            {"type": kind.type, "name": kind.name, "status": kind.status, "title": kind.title}
            for kind in problems.KINDS
        ]
        app.openapi_schema = made
    return app.openapi_schema


def _complete(paths: dict[str, dict[str, Any]]) -> None:
    for operations in paths.values():
        for operation in operations.values():
            responses = operation["responses"]
            if responses["200"]["description"] == "Successful Response":
                responses["200"]["description"] = "Done"
            responses["500"] = _response([problems.UNEXPECTED])
            stopping = _response([problems.STOPPING])
            if there := responses.get("503"):
                stopping["description"] = f"{there['description']}; or {stopping['description']}"
            responses["503"] = stopping


def _add_schemas(schemas: dict[str, Any]) -> None:
    for model in (Problem, records.Event):
        made = model.model_json_schema(ref_template=SCHEMAS + "{model}", mode="serialization")
        for name, schema in made.pop("$defs", {}).items():
            schemas.setdefault(name, schema)
        schemas[model.__name__] = made
