"""A bundle ready to serve: what steps its ticks, and reads and writes the records of its schema.

Nothing here remembers a tick, so workers that take turns in one thread may share it.
"""

from __future__ import annotations

from slotcast.records.forecasts import ForecastEncoder
from slotcast.records.imports import ImportReader
from slotcast.records.ticks import TickParser
from slotcast_models.predictor import Predictor
from slotcast_models.step import numerics


class ReadyBundle:
    """The parts of a worker that depend on its bundle alone."""

    def __init__(self, predictor: Predictor) -> None:
        self.bundle, self.numerics = predictor.bundle, numerics()
        self.predictor = predictor
        self.parser = TickParser(self.bundle.schema, ImportReader(self.bundle))
        self.encoder = ForecastEncoder(self.bundle, self.numerics)
