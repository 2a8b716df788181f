"""What all sections of the settings share: strict, unchanging, and silent about secrets.

A secret comes from the environment, or from a file that the setting `NAME_file` names, as container
platforms mount them. No message of a section repeats what it was given, which may be a secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

_FILE = "_file"


class Section(BaseModel):
    """A section of the file: unknown names are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _secrets_are_read(cls, given: Any) -> Any:
        """What the file `NAME_file` holds becomes the secret `NAME`: nothing else has to look."""
        for name in cls.model_fields if isinstance(given, dict) else ():
            secret, path = name.removesuffix(_FILE), given.get(name)
            if path is None or secret == name or secret not in cls.model_fields:
                continue
            if given.get(secret) is not None:
                raise ValueError(f"{secret} and {name} are both set: leave one of them out")
            given = given | {secret: _read(name, Path(path))}
        return given


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"{name}: cannot read {path}: {why}") from None


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None


ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A file that is there; libraries that are given a missing one do not say which."""

Secret = Annotated[SecretStr, Field(min_length=1)]
"""Nothing prints it. An empty one is refused: it is a variable that somebody forgot to fill."""
