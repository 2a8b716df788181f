"""A network that goes on learning while it forecasts, inside the fold: for backtests.

    bundle = blueprint((("lstm", 64),), "instrument", 2, rules, schema)
    warmed = warm(bundle, columns, names, OnlineRecipe(warm_ticks=2880))
    predictor = OnlinePredictor(warmed, len(names), "inline")
    outcome = prequential(predictor, columns, len(names))

`warm` trains on the first ticks. The predictor then steps all ticks through the fold of the live
service, the network's weights updated every `stride` ticks from the last `window`, each window from
the row as it was carried. A tick is forecast by weights that have seen nothing later than the tick
itself; the ticks of the warm-up too, by weights that begin untrained. How weights reach forecasts:

    frozen   as they are after the warm-up
    inline   each update at once: what a service cannot do that also replays exactly
    delayed  each update `delay_ticks` ticks later, as from a service role of its own

Needs TensorFlow. The step is that of TensorFlow, equal to the step program to 1e-5, not in bits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from slotcast_models.backtest import Outcome, prequential
from slotcast_models.bundle import Bundle, Manifest, NetworkSpec, network_sizes
from slotcast_models.columns import Columns, chosen
from slotcast_models.learner import Learner, LearningRule, Values, Window
from slotcast_models.network import build_network
from slotcast_models.recording import Recorder, Watcher, Wave
from slotcast_models.rules import FoldRules
from slotcast_models.schema import TickSchema
from slotcast_models.step import Stage
from slotcast_models.training import Recipe, Training

Mode = Literal["frozen", "inline", "delayed"]
LANES = 16
CARRIED = {"lstm": 2, "gru": 1, "rnn": 1}
"""Numbers that a unit carries from tick to tick."""


@dataclass(frozen=True)
class OnlineRecipe:
    """Network and learning of an online run. `warm_ticks` are learnt from `epochs` times first."""

    warm_ticks: int
    epochs: int = 4
    rule: LearningRule = field(default_factory=LearningRule)
    delay_ticks: int = 64
    seed: int = 1


@dataclass(frozen=True)
class Warmed:
    """A network after its warm-up."""

    bundle: Bundle
    recipe: OnlineRecipe
    network: Any
    learner: Learner  # compiled once, for every run
    first: Values  # as it was before
    values: Values


def blueprint(
    cells: tuple[tuple[str, int], ...],
    rows: Literal["target", "instrument"],
    phases: int,
    rules: FoldRules,
    schema: TickSchema,
) -> Bundle:
    """A bound bundle without a program, of a network that is still to be built. Raises KeyError."""
    inputs, outputs = network_sizes(schema, rows, phases)
    spec = NetworkSpec(
        cells=cells,
        rows=rows,
        inputs=inputs,
        outputs=outputs,
        width=sum(CARRIED[kind] * units for kind, units in cells),
        phases=phases,
        parameters=0,
        training="to be trained",
    )
    return Bundle(Manifest(name="online", network=spec, rules=rules, files={}), b"").bind(schema)


def warm(bundle: Bundle, columns: Columns, names: list[str], recipe: OnlineRecipe) -> Warmed:
    """Train the network that `bundle` describes on the first `warm_ticks` columns.

    `bundle` is bound; only its manifest is used. Equal arguments give equal weights.
    """
    keras.utils.set_random_seed(recipe.seed)
    spec = bundle.manifest.network
    network = build_network(spec.cells, spec.inputs, spec.outputs)
    recorder = Recorder(bundle, len(names))
    early: Any = slice(0, recipe.warm_ticks)
    recorder.record(chosen(columns, early))
    plan = Recipe(rule=recipe.rule, epochs=recipe.epochs, validation=0.0)
    training = Training(network, recorder.sequences(names), plan)
    first = training.values
    for _ in training.run():
        pass
    rows = len(bundle.schema.targets) if spec.rows == "target" else 1
    learner = Learner(network, min(LANES, len(names) * rows), recipe.rule)
    return Warmed(bundle, recipe, network, learner, first, training.values)


def train_and_run(
    recipe: OnlineRecipe, bundle: Bundle, columns: Columns, names: list[str], online: Mode
) -> Outcome:
    """`warm`, then all columns through an `OnlinePredictor`."""
    warmed = warm(bundle, columns, names, recipe)
    predictor = OnlinePredictor(warmed, len(names), online)
    return prequential(predictor, columns, len(names))


class _Stepper:
    """The network step of a predictor, with weights that may be exchanged."""

    def __init__(self, rows: int, learner: Learner, weights: tuple[Any, ...]) -> None:
        stepped = learner.stepped
        widths = stepped.features, stepped.width, stepped.outputs, stepped.width
        self.stage = Stage(*(np.zeros((rows, width), np.float32) for width in widths))
        self.weights, self._step = weights, learner.step

    def step(self, n: int) -> None:
        """Step the first rows of the stage; as many as the next power of two are computed."""
        stage, room = self.stage, min(1 << (n - 1).bit_length(), len(self.stage.x))
        y, row = self._step(self.weights, stage.x[:room], stage.row[:room])
        stage.y[:n], stage.row_next[:n] = y[:n], row[:n]


class _Rings:
    """The last `window` inputs, labels and carried rows of each network row."""

    def __init__(self, rows: int, learner: Learner) -> None:
        window, stepped = learner.rule.window, learner.stepped
        self.x = np.zeros((rows, window, stepped.features), np.float32)
        self.label = np.full((rows, window, learner.targets), np.nan, np.float32)
        self.start = np.zeros((rows, window), np.float32)
        self.row = np.zeros((rows, window, stepped.width), np.float32)
        self.ticks = np.zeros(rows, np.int64)
        self.fresh = np.zeros(rows, np.int64)  # ticks that no update has seen

    def take(self, rows: NDArray[np.int64], x: Any, row: Any, start: Any) -> None:
        """Append a tick to each of these rows; its label is not known yet."""
        at = rows, self.ticks[rows] % self.x.shape[1]
        self.x[at], self.row[at], self.start[at], self.label[at] = x, row, start, np.nan
        self.ticks[rows] += 1
        self.fresh[rows] += 1

    def tell(self, rows: NDArray[np.int64], label: Any) -> None:
        """The label of the last tick of each of these rows."""
        self.label[rows, (self.ticks[rows] - 1) % self.x.shape[1]] = label

    def window(self, rows: NDArray[np.int64], lanes: int) -> tuple[Window, Any]:
        """Whole windows of these rows, in time order, filled up to `lanes`; the carried rows."""
        size = self.x.shape[1]
        at = rows[:, None], (self.ticks[rows, None] + np.arange(size)) % size
        missing = lanes - len(rows)

        def filled(part: Any, value: float = 0.0) -> Any:
            fill = [(0, missing)] + [(0, 0)] * (part.ndim - 1)
            return np.pad(part, fill, constant_values=value) if missing else part

        window = Window(filled(self.x[at]), filled(self.label[at], np.nan), filled(self.start[at]))
        return window, filled(self.row[rows, self.ticks[rows] % size])


class OnlinePredictor(Watcher):
    """A predictor of the warmed network's bundle, whose network learns as `mode` says."""

    def __init__(self, warmed: Warmed, instruments: int, mode: Mode) -> None:
        spec, recipe = warmed.bundle.manifest.network, warmed.recipe
        rows = len(warmed.bundle.schema.targets) if spec.rows == "target" else 1
        self._learner, self._values = warmed.learner, warmed.first
        self._warmed, self._mode = warmed, mode
        self._delay = recipe.delay_ticks if mode == "delayed" else 0
        self._late: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._ticks, self._warming = 0, True
        self._rings = _Rings(instruments * rows, self._learner)
        self._stepper: _Stepper
        super().__init__(warmed.bundle, self._make_stepper, self._watch_wave)

    def _make_stepper(self, rows: int) -> _Stepper:
        self._stepper = _Stepper(rows, self._learner, self._values.weights)
        return self._stepper

    def _watch_wave(self, wave: Wave) -> None:
        ticks = np.flatnonzero(wave.tick)
        rows = (wave.slots[ticks, None] * self._rows + np.arange(self._rows)).reshape(-1)
        start = np.repeat(wave.start[ticks], self._rows)
        label = wave.label[ticks].reshape(len(rows), -1)
        self._rings.tell(rows, np.where(start[:, None], np.nan, label))
        if self._warming and self._ticks >= self._warmed.recipe.warm_ticks:
            self._warming, self._values = False, self._warmed.values
            self._stepper.weights = self._values.weights
        self._learn(rows)
        while self._late and self._late[0][0] <= self._ticks:
            self._stepper.weights = self._late.popleft()[1]
        staged = (ticks[:, None] * self._rows + np.arange(self._rows)).reshape(-1)
        self._rings.take(rows, self.stage.x[staged], self.stage.row[staged], start)
        self._ticks += len(ticks)

    def _learn(self, rows: NDArray[np.int64]) -> None:
        rule, rings, lanes = self._learner.rule, self._rings, self._learner.lanes
        if self._mode == "frozen" and not self._warming:
            return
        due = rows[(rings.fresh[rows] >= rule.stride) & (rings.ticks[rows] >= rule.window)]
        for first in range(0, len(due), lanes):
            part = due[first : first + lanes]
            window, carried = rings.window(part, lanes)
            self._values, _, _ = self._learner.learn(self._values, window, carried)
            rings.fresh[part] = 0
            ready = self._ticks + (0 if self._warming else self._delay)
            self._late.append((ready, self._values.weights))
