"""A bundle: one directory with the network, its step program and the manifest.

The manifest plus a tick schema is everything the fold depends on besides the log; `Bundle.identity`
names it. Nothing is unpickled, every file is checked against the manifest's sha256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slotcast_models.memory import Layout
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema
from slotcast_models.seasons import Seasons, declared
from slotcast_models.vectors import VECTORS, Floats, Vectors

FORMAT = 1
SAID = 4
"""Inputs of a network that corrects: what is said so far, and after how many ticks."""
MANIFEST, STEP, NETWORK = "manifest.json", "step.tflite", "network.keras"
DEFAULT = Path(__file__).parent / "bundles" / "default"


class BundleError(Exception):
    """The bundle cannot be used; the message names the file and the way out."""


class NetworkSpec(BaseModel):
    """What the network is. `rows = "target"`: one network row per target, with its own inputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: tuple[tuple[str, int], ...] = Field(description="Recurrent layers, kind and units.")
    rows: Literal["target", "instrument"] = "target"
    inputs: int = Field(gt=0, description="Inputs of one network row.")
    outputs: int = Field(gt=0, description="Outputs of one network row.")
    width: int = Field(gt=0, description="Carried numbers of one network row.")
    head: Literal["regression", "quantiles", "classes"] = "regression"
    extras: tuple[str, ...] = Field(
        (), description="What the head says of a target beside the change, by name."
    )
    phases: int = Field(
        0, ge=0, description="Sine and cosine pairs of the shortest season among the inputs."
    )
    embedding: int = Field(
        0, ge=0, description="Numbers of a learnt vector per instrument among the inputs."
    )
    corrects: bool = Field(
        False,
        description="The network is told what readout and smoothers say, and corrects it; else its"
        " output is one of the readout's features.",
    )
    parameters: int = Field(ge=0)
    training: str = Field(description="How the weights came about, for people.")


def network_sizes(
    schema: TickSchema,
    rows: Literal["target", "instrument"],
    phases: int = 0,
    extras: int = 0,
    embedding: int = 0,
    corrects: bool = False,
) -> tuple[int, int]:
    """Inputs and outputs of one network row, as `features.network_inputs` lays them out."""
    targets, shared = len(schema.targets), 1 + 2 * phases + embedding + SAID * corrects
    if rows == "target":
        return 2 + shared, 1 + extras
    inputs = 2 * len(schema.quantities) + len(schema.features) + shared
    return inputs, targets * (1 + extras)


class Manifest(BaseModel):
    """manifest.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    network: NetworkSpec
    rules: FoldRules = FoldRules()
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")], str] = Field(
        description="File name in the directory -> sha256."
    )
    tick_schema: TickSchema | None = Field(None, description="None: any schema may be bound.")


@dataclass(frozen=True)
class Bundle:
    """A checked bundle, perhaps bound to a schema."""

    manifest: Manifest
    program: bytes
    vectors: Vectors | None = None
    sha256: str = field(default="", compare=False)
    """Of the manifest file, which has those of all others: it pins every byte of the directory."""

    @classmethod
    def load(cls, path: Path | None = None, pinned: str | None = None) -> Bundle:
        """Read and check a bundle directory (the default bundle for None). Raises BundleError.

        `pinned` is the sha256 that its manifest must have.
        """
        path = path or DEFAULT
        try:
            text = (path / MANIFEST).read_bytes()
            sha256 = hashlib.sha256(text).hexdigest()
            if pinned is not None and pinned != sha256:
                raise BundleError(
                    f"bundle {path}: {MANIFEST} has sha256 {sha256}, bundle.sha256 is {pinned}:"
                    " give the bundle that was meant, or pin this one if it is"
                )
            facts = json.loads(text)
            version = facts.get("format") if isinstance(facts, dict) else None
            if version != FORMAT:
                raise BundleError(
                    f"bundle {path} has format {version}, this build reads {FORMAT}: "
                    "export it again, or install the slotcast version that wrote it"
                )
            manifest = Manifest.model_validate_json(text)
            contents = {name: (path / name).read_bytes() for name in manifest.files}
        except (OSError, ValueError, ValidationError) as error:
            raise BundleError(
                f"bundle {path} cannot be read: {error}: copy it again, or name another directory"
            ) from error
        for name, digest in manifest.files.items():
            if hashlib.sha256(contents[name]).hexdigest() != digest:
                raise BundleError(f"bundle {path}: {name} differs from its manifest: copy it again")
        if STEP not in contents:
            raise BundleError(f"bundle {path} has no {STEP}: export it with slotcast_models.export")
        return cls(manifest, contents[STEP], _vectors_of(path, manifest, contents), sha256)

    def bind(self, schema: TickSchema) -> Bundle:
        """This bundle for ticks of `schema`. Raises BundleError if it cannot step them."""
        own = self.manifest.tick_schema
        if own is not None and own != schema:
            raise BundleError(
                f"bundle {self.manifest.name} was made for another schema: "
                "leave [schema] out of the configuration, or train a bundle for this one"
            )
        network = self.manifest.network
        if network.phases > (self.manifest.rules.harmonics if schema.seasons else 0):
            raise BundleError(
                f"bundle {self.manifest.name} was trained with seasons: declare them in [schema]"
            )
        if network.corrects and network.rows != "target":
            raise BundleError(
                f"bundle {self.manifest.name} corrects forecasts: its network needs one row per "
                "target, so export or train it again with rows for each target"
            )
        wanted = network_sizes(
            schema,
            network.rows,
            network.phases,
            len(network.extras),
            network.embedding,
            network.corrects,
        )
        if (network.inputs, network.outputs) != wanted:
            raise BundleError(
                f"bundle {self.manifest.name} has {network.inputs} inputs and {network.outputs} "
                f"outputs per {network.rows}, the schema needs {wanted[0]} and {wanted[1]}"
            )
        return replace(self, manifest=self.manifest.model_copy(update={"tick_schema": schema}))

    @property
    def schema(self) -> TickSchema:
        """The bound schema. Asserts that there is one."""
        assert self.manifest.tick_schema is not None, "bind the bundle to a schema first"
        return self.manifest.tick_schema

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over everything the fold depends on, schema included."""
        facts = self.manifest.model_dump(mode="json", exclude={"network": {"training"}})
        canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def identity(self) -> str:
        """Name and short fingerprint, as forecasts carry it."""
        return f"{self.manifest.name}-{self.fingerprint[:12]}"

    def vector_of(self, name: str | None = None) -> Floats:
        """An instrument's vector; without a name, that of an instrument never seen in training."""
        if self.vectors is None:
            return np.zeros(self.manifest.network.embedding, np.float32)
        return self.vectors.of(name)

    @property
    def siblings(self) -> int:
        """Other quantities that a target's readout sees."""
        return min(self.manifest.rules.siblings, len(self.schema.quantities) - 1)

    @cached_property
    def seasons(self) -> Seasons:
        """The seasons of the bound schema."""
        return declared(self.schema.seasons, self.schema.step_ms, self.manifest.rules)

    @cached_property
    def layout(self) -> Layout:
        """Sizes of a memory row for the bound schema."""
        network, rules = self.manifest.network, self.manifest.rules
        targets, quantities = len(self.schema.targets), len(self.schema.quantities)
        rows = targets if network.rows == "target" else 1
        seasons = self.seasons
        own = 1 + rules.lags + 1  # bias, lags, deviation
        said = 1 + (not network.corrects)  # by smoothers, and by a network that is a feature
        return Layout(
            net=rows * network.width,
            history=rules.input_history,
            inputs=rows * network.inputs,
            quantities=quantities,
            targets=targets,
            lags=rules.lags,
            features=own + 2 * self.siblings + seasons.features + said,
            levels=len(rules.levels),
            ring=seasons.ring,
            bins=seasons.bins,
            extras=len(network.extras),
            smoothers=len(rules.smoothing_rates),
            vector=network.embedding,
        )


def _vectors_of(path: Path, manifest: Manifest, contents: dict[str, bytes]) -> Vectors | None:
    numbers = manifest.network.embedding
    if numbers == 0:
        return None
    try:
        found = Vectors.model_validate_json(contents[VECTORS])
    except (KeyError, ValidationError) as error:
        raise BundleError(f"bundle {path} has no {VECTORS} to read: train it again") from error
    if found.numbers != numbers:
        raise BundleError(
            f"bundle {path}: the vectors in {VECTORS} do not all have {numbers} numbers, as its "
            "manifest says: train it again"
        )
    return found


def save_bundle(path: Path, manifest: Manifest, contents: dict[str, bytes]) -> None:
    """Write a bundle directory; the manifest's digests are made here, and it is written last."""
    path.mkdir(parents=True, exist_ok=True)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        (path / name).write_bytes(content)
    text = manifest.model_copy(update={"files": files}).model_dump_json(indent=2)
    (path / MANIFEST).write_text(text + "\n")
