"""What is shown on a terminal: text as it is.

Names come from whoever sends ticks. None of them is markup, and no terminal obeys one.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text


def open_console(**options: Any) -> Console:
    """A console to which brackets are brackets."""
    return Console(markup=False, emoji=False, **options)


def printable(text: str) -> str:
    """The text, with what cannot be printed written as Python writes it."""
    return text if text.isprintable() else "".join(map(_written, text))


def cell(text: str) -> Text:
    """The text as a table's cell."""
    return Text(printable(text))


def _written(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
