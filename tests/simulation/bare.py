"""A worker of few parts: a network of two lines, and nobody who reads along.

A schedule is about what is published. For that it needs delivery, recovery, paging, snapshots and
memory rows as they are; but board, tally and metrics never reach a forecast, and a network is there
to be carried, from tick to tick and through the store: a small one is as good.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from slotcast.ready_bundle import ReadyBundle
from slotcast_models.bundle import Bundle, NetworkSpec
from slotcast_models.predictor import Predictor
from slotcast_models.schema import TickSchema
from slotcast_models.step import Stage


class Unheard:
    """Whatever is told to it, or asked of it, is itself."""

    def __getattr__(self, name: str) -> Unheard:
        return self

    def __call__(self, *_: object, **__: object) -> Unheard:
        return self


class BareNetwork:
    """Everything carried fades by half at each step, and takes in the inputs."""

    def __init__(self, spec: NetworkSpec, room: int) -> None:
        widths = spec.inputs, spec.width, spec.outputs, spec.width
        self.stage = Stage(*(np.zeros((room, width), np.float32) for width in widths))

    def step(self, n: int) -> None:
        """Step the first n rows of the stage."""
        x, row, y, row_next = (part[:n] for part in self.stage)
        row_next[...] = 0.5 * row + x.sum(axis=1, keepdims=True)
        y[...] = row_next[:, :1]


@cache
def bare_bundle(schema: TickSchema) -> ReadyBundle:
    """The default bundle with the small network, for all workers of this thread."""
    bundle = Bundle.load().bind(schema)
    spec = bundle.manifest.network
    return ReadyBundle(Predictor(bundle, lambda room: BareNetwork(spec, room)))
