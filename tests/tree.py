"""The files of this repository, as git sees them: tracked, or new and not ignored."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers import ROOT


def files(*folders: str) -> list[Path]:
    """Paths relative to the root, sorted; `folders` narrow the choice."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        [*command, "--", *folders], cwd=ROOT, check=True, capture_output=True, text=True
    )
    names = sorted(set(filter(None, listed.stdout.split("\0"))))
    return [Path(name) for name in names if (ROOT / name).is_file()]
