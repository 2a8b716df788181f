"""What training leaves behind: a bundle with a report of how its weights came about.

Everything in the report follows from seed, data and recipe: it holds no date and no duration. Needs
TensorFlow.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slotcast_models.bundle import NETWORK, STEP, Bundle, Manifest, NetworkSpec, save_bundle
from slotcast_models.export import export_step, saved_network
from slotcast_models.heads import Head
from slotcast_models.lanes import Lanes
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema
from slotcast_models.stepping import Stepped
from slotcast_models.training import HISTORY, Training, skill_of
from slotcast_models.vectors import VECTORS, Vectors

REPORT, SUMMARY = "training.json", "training.txt"
Rows = Literal["target", "instrument"]


def spec_of(
    network: Any, rows: Rows, head: Head, phases: int, training: str, embedding: int = 0
) -> NetworkSpec:
    """The manifest's words on a network. Raises ValueError if it cannot be stepped."""
    stepped = Stepped(network)
    return NetworkSpec(
        cells=stepped.cells(),
        rows=rows,
        inputs=stepped.features,
        outputs=stepped.outputs,
        width=stepped.width,
        head=head.kind,
        extras=head.extras,
        phases=phases,
        embedding=embedding,
        parameters=int(network.count_params()),
        training=training,
    )


def without_program(name: str, spec: NetworkSpec, rules: FoldRules, schema: TickSchema) -> Bundle:
    """A bound bundle to record with: all but the step program. Raises BundleError."""
    return Bundle(Manifest(name=name, network=spec, rules=rules, files={}), b"").bind(schema)


def report_of(training: Training, facts: dict[str, Any]) -> dict[str, Any]:
    """The training report, ready for JSON; `facts` say where the ticks came from."""
    lanes, outputs = training.outputs(training.best)
    head, later = training.recipe.head, lanes.entry >= training.cut
    parts = {"training": ~later & (lanes.source >= 0), "validation": later}
    return {
        "ticks": facts,
        "recipe": asdict(training.recipe),
        "best_epoch": training.best_epoch,
        "epochs": [
            {name: _finite(value) for name, value in zip(HISTORY, past, strict=True)}
            for past in training.history
        ],
        "results": {title: _scores(head, lanes, outputs, part) for title, part in parts.items()},
        "versions": {name: version(name) for name in ("keras", "numpy")},
    }


def _scores(head: Head, lanes: Lanes, outputs: Any, part: Any) -> dict[str, Any]:
    """Skill over everything and by sequence, and how good the head's other outputs are."""
    label = np.where(part[..., None], lanes.label, np.nan)
    skills = []
    for i in range(int(lanes.source.max()) + 1):
        own = lanes.source == i
        if np.isfinite(label[own]).sum() > 1:
            skills.append(skill_of(head, outputs[own], label[own]))
    found = {
        "labels": int(np.isfinite(label).sum()),
        "skill": _finite(skill_of(head, outputs, label)),
        "skill_by_sequence": dict(
            zip(("lowest", "median", "highest"), _quantiles(skills), strict=True)
        ),
    }
    known = np.isfinite(label)
    extras = outputs.reshape(*label.shape, head.outputs)[known][:, 1:]
    if head.kind == "classes" and known.any():
        went = np.digitize(label[known], [-head.flat, head.flat])
        found["accuracy"] = float((extras.argmax(-1) == went).mean())
        found["most_frequent_class"] = float(np.bincount(went, minlength=3).max() / len(went))
    if head.kind == "quantiles" and known.any():
        below = (label[known][:, None] <= extras).mean(0)
        found["share_below_quantile"] = dict(zip(head.extras, below.tolist(), strict=True))
    return found


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _quantiles(values: list[float]) -> list[float | None]:
    finite = [value for value in values if np.isfinite(value)]
    return [float(q) for q in np.quantile(finite, (0.0, 0.5, 1.0))] if finite else [None] * 3


def summary_of(report: dict[str, Any], spec: NetworkSpec) -> str:
    """The report in a few lines."""
    cells = " -> ".join(f"{kind} {units}" for kind, units in spec.cells)
    results, ticks = report["results"], report["ticks"]
    where = f"{ticks['ticks']:,} of {ticks['instruments']:,} instruments from {ticks['source']}"
    size = f"{spec.parameters:,} parameters, one row per {spec.rows}"
    size += f", {spec.embedding} numbers per instrument" if spec.embedding else ""
    lines = [
        f"network     {cells} -> {spec.head}, {size}",
        f"ticks       {where}",
        f"epochs      {len(report['epochs'])}, the best was {report['best_epoch']}",
    ]
    for title, found in results.items():
        if found["skill"] is not None:
            skill = f"skill {found['skill']:+.4f} over {found['labels']:,} labels"
            middle = found["skill_by_sequence"]["median"]
            lines.append(f"{title:<11} {skill}, median of sequences {middle:+.4f}")
            if "accuracy" in found:
                often = found["most_frequent_class"]
                lines.append(
                    f"{'':<11} accuracy {found['accuracy']:.3f}, always the most {often:.3f}"
                )
            for p, share in found.get("share_below_quantile", {}).items():
                lines.append(f"{'':<11} quantile {p}: {share:.3f} of the labels below")
    return "\n".join(lines) + "\n"


def save_trained(
    path: Path,
    name: str,
    network: Any,
    spec: NetworkSpec,
    bundle: Bundle,
    report: dict[str, Any],
    vectors: Vectors | None = None,
) -> Manifest:
    """Write the bundle: step program, network, report, and vectors if the network takes some.

    `bundle` has the rules and the schema.
    """
    bound = bundle.schema if spec.rows == "instrument" else None
    manifest = Manifest(
        name=name, network=spec, rules=bundle.manifest.rules, files={}, tick_schema=bound
    )
    contents = {
        STEP: export_step(network),
        NETWORK: saved_network(network),
        REPORT: (json.dumps(report, indent=2, allow_nan=False) + "\n").encode(),
        SUMMARY: summary_of(report, spec).encode(),
    }
    if vectors is not None:
        contents[VECTORS] = (vectors.model_dump_json(indent=1) + "\n").encode()
    save_bundle(path, manifest, contents)
    return manifest
