"""The folder in which numba keeps compiled loops: one in which only its user can put anything.

What numba keeps there are pickles: whoever can write to the folder, or put another one in its
place, runs code as us. So a folder that is not private is neither read nor written.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

WRITE_OTHERS = stat.S_IWGRP | stat.S_IWOTH
MADE = 0o700


class NotPrivateError(Exception):
    """Nothing may be kept there; the message says why."""


def private_folder(wanted: Path) -> Path:
    """The folder without links on its way, made if it is not there (mode 0700).

    It belongs to this user, and nobody else but root may write to it or replace a folder on its
    way. Raises NotPrivateError.
    """
    try:
        for one in reversed((wanted, *wanted.parents)):
            one.mkdir(MADE, exist_ok=True)
        folder = wanted.resolve(strict=True)
        if hasattr(os, "geteuid"):  # else it is Windows, where a profile is its user's
            _check_owners(folder, os.geteuid())
    except OSError as error:
        raise NotPrivateError(f"{wanted}: {error.strerror}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise NotPrivateError(f"{folder} may not be written")
    return folder


def _check_owners(folder: Path, user: int) -> None:
    for one in (folder, *folder.parents):
        found = one.stat()
        owners = {user} if one == folder else {user, 0}
        if found.st_uid not in owners:
            raise NotPrivateError(f"{one} belongs to user {found.st_uid}, this is user {user}")
        is_open = _is_open if one == folder else _is_open_on_the_way
        if is_open(found):
            mode = stat.S_IMODE(found.st_mode)
            raise NotPrivateError(f"others may write to {one} (mode {mode:04o})")


def _is_open(found: os.stat_result) -> bool:
    return bool(found.st_mode & WRITE_OTHERS)


def _is_open_on_the_way(found: os.stat_result) -> bool:
    """Whether others may replace what is in it.

    In a sticky folder, such as /tmp, nobody can replace what is another's; and the group of a
    user's own, with the same number, which Debian and Red Hat give, has no other members.
    """
    if found.st_mode & stat.S_ISVTX:
        return False
    own_group = found.st_gid == found.st_uid
    return bool(found.st_mode & (stat.S_IWOTH if own_group else WRITE_OTHERS))
