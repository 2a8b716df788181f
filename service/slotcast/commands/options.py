"""What commands share: options, and the way they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file; environment variables override it.")
]


def fail(message: object, code: int = 1) -> NoReturn:
    """End with this exit code and a message on stderr."""
    typer.secho(f"slotcast: {message}", fg="red", err=True)
    raise typer.Exit(code)
