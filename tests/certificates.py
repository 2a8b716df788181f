"""Authorities and the certificates that they sign, made by `openssl` for one test run."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers import ServerMissingError

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2")


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and its key, and both in one file, as Kafka takes them."""

    file: Path
    key: Path

    @property
    def both(self) -> Path:
        both = self.file.with_suffix(".both")
        both.write_text(self.key.read_text() + self.file.read_text())
        return both


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl(
            *NEW_KEY, "-nodes", "-keyout", self._key, "-out", self.file, "-subj", f"/CN={name}"
        )

    def issue(
        self, name: str, address: str = "127.0.0.1", password: str | None = None
    ) -> Certificate:
        """For a server at this address, or a client of this name; the key perhaps encrypted."""
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        signed = ("-CA", self.file, "-CAkey", self._key, "-addext", f"subjectAltName=IP:{address}")
        secret = ("-passout", f"pass:{password}") if password else ("-nodes",)
        to = ("-keyout", made.key, "-out", made.file, "-subj", f"/CN={name}")
        _openssl(*NEW_KEY, *signed, *secret, *to)
        return made


def _openssl(*arguments: str | Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise ServerMissingError("openssl is missing: run  make servers")
    command = [program, "req", "-x509", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)
