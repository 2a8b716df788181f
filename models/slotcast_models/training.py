"""Training of a network on recorded sequences: truncated backpropagation through time, in lanes.

    training = Training(network, sequences, Recipe(epochs=4))
    for moment in training.run():      # one per update
        ...                            # show it; now and then keep training.capture()

Every epoch steps through the lanes in the order of the log, from fresh rows, one update per
`stride` ticks, the row carried from window to window. Then the network is validated on the ticks
that follow in time: from fresh rows of its own, through all ticks before, as serving would meet
them. The epoch with the lowest validation loss is kept; after `patience` epochs without a lower one
training ends.

`resume(capture())` goes on exactly there: the numbers equal those of an uninterrupted run. Same
seed, data and library, same weights. Reads no clock, writes no file. Needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from slotcast_models.heads import Head
from slotcast_models.lanes import Lanes, cut_at, lay, segments
from slotcast_models.learner import Learner, LearningRule, Values, Window
from slotcast_models.recording import Sequence
from slotcast_models.vectors import Vectors, learnt_vectors

Captured = dict[str, NDArray[Any]]
HISTORY = ("loss", "validation_loss", "validation_skill")


class NothingToLearn(ValueError):
    """There are too few ticks; the message says how many are needed."""


class Diverged(ValueError):
    """The loss is no number any more, and no update could make it one again."""


@dataclass(frozen=True)
class Recipe:
    """How to train. `validation` is the share of the ticks, the last ones, that is held back.

    Sequences of more than `segment_ticks` are learnt from in pieces, each from a fresh row.
    """

    rule: LearningRule = field(default_factory=LearningRule)
    head: Head = field(default_factory=Head)
    epochs: int = 50
    patience: int = 5
    validation: float = 0.2
    lanes: int = 64
    segment_ticks: int = 20_000

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that nothing could be trained with."""
        for name in ("epochs", "patience", "lanes", "segment_ticks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: need 1 or more")
        if not 0.0 <= self.validation < 1.0:
            raise ValueError(
                f"validation {self.validation}: need a share from 0 to less than 1: the ticks "
                "before it are learnt from"
            )


class Moment(NamedTuple):
    """Where training is: after update `update` of `updates` in epoch `epoch` (from 1)."""

    epoch: int
    update: int
    updates: int
    loss: float  # mean over the epoch so far
    skill: float  # on the validation ticks after the last whole epoch, NaN before


class Training:
    """One run of training. Afterwards the network holds the weights of the best epoch."""

    def __init__(
        self,
        network: Any,
        sequences: list[Sequence],
        recipe: Recipe,
        vectors: NDArray[np.float32] | None = None,
    ) -> None:
        """`vectors` [instruments, numbers], as `Learner` has it, where the network has such.

        Raises ValueError for a network that cannot be trained, NothingToLearn for too few ticks.
        """
        self.recipe, self.network, self._vectors = recipe, network, vectors
        window = recipe.rule.window
        ticks = 1 + max((int(s.entry[-1]) for s in sequences), default=-1)
        self.cut = ticks - int(recipe.validation * ticks)
        learnt = list(segments(cut_at(sequences, self.cut), recipe.segment_ticks))
        if not any(np.isfinite(s.label).any() for s in learnt):
            raise NothingToLearn(
                f"{ticks} ticks, {self.cut} before validation: there is nothing to learn from. The "
                "fold learns from no tick in its first warmup_ticks, nor after gaps: give more"
            )
        later = (s.label[s.entry >= self.cut] for s in sequences)
        if recipe.validation > 0 and not any(np.isfinite(label).any() for label in later):
            raise NothingToLearn(
                f"{ticks} ticks, {ticks - self.cut} for validation: there is nothing to validate "
                "on. Give more ticks or a larger share (--validation), or 0: then the last epoch "
                "is kept"
            )
        self._lanes = lay(learnt, recipe.lanes, window, recipe.rule.stride)
        self._whole = lay(sequences, recipe.lanes)
        self._learner = Learner(network, len(self._lanes.x), recipe.rule, recipe.head, vectors)
        self._evaluator = self._learner
        if len(self._whole.x) != self._learner.lanes:
            lanes = len(self._whole.x)
            self._evaluator = Learner(network, lanes, recipe.rule, recipe.head, vectors)
        self.updates = (self._lanes.steps - window) // recipe.rule.stride + 1
        self.values = self._learner.start()
        self.best, self.best_epoch = self.values, 0
        self.history: list[tuple[float, float, float]] = []
        self._rows: Any = self._learner.fresh_rows()
        self._update, self._loss = 0, 0.0

    @property
    def done(self) -> bool:
        """Whether training has ended."""
        since = len(self.history) - self.best_epoch
        ends = self.recipe.validation > 0 and since >= self.recipe.patience
        return ends or len(self.history) >= self.recipe.epochs

    def run(self) -> Iterator[Moment]:
        """Train to the end, one update per turn. Raises Diverged."""
        while not self.done:
            while self._update < self.updates:
                self._learn()
                yield self._moment()
            self._end_epoch()
        self._learner.assign(self.best)

    def capture(self) -> Captured:
        """Everything that the next update depends on, as arrays."""
        captured: Captured = {
            "rows": np.asarray(self._rows),
            "place": np.array([self._update, self.best_epoch]),
            "loss": np.array(self._loss),
            "history": np.array(self.history, np.float64).reshape(-1, len(HISTORY)),
        }
        for title, values in (("now", self.values), ("best", self.best)):
            for kind, tensors in values._asdict().items():
                for i, tensor in enumerate(tensors):
                    captured[f"{title}.{kind}.{i}"] = np.asarray(tensor)
        return captured

    def resume(self, captured: Mapping[str, NDArray[Any]]) -> None:
        """Go on where `capture` was called, with the same sequences and recipe."""
        self._rows, self._loss = captured["rows"], float(captured["loss"])
        self._update, self.best_epoch = (int(n) for n in captured["place"])
        self.history = [(float(a), float(b), float(c)) for a, b, c in captured["history"]]
        self.values, self.best = (
            Values(
                *(
                    tuple(tf.constant(captured[f"{title}.{kind}.{i}"]) for i in range(len(like)))
                    for kind, like in self.values._asdict().items()
                )
            )
            for title in ("now", "best")
        )

    def outputs(self, values: Values) -> tuple[Lanes, NDArray[np.float32]]:
        """All sequences in lanes, and what the network says of them tick by tick."""
        return self._whole, self._evaluator.outputs(values, self._whole.x, self._whole.start)

    def vectors(self, names: list[str]) -> Vectors | None:
        """The vectors of the best epoch, of those of the instruments `names` that were learnt from.

        None for a network without.
        """
        if self._vectors is None:
            return None
        first = self._lanes.x.shape[2] - self._vectors.shape[1]
        known = np.isfinite(self._lanes.label).any(axis=-1)
        seen = np.unique(self._lanes.x[known][:, first].astype(np.int64)).tolist()
        return learnt_vectors(np.asarray(self.best.weights[-1]), names, seen)

    def _learn(self) -> None:
        first = self._update * self.recipe.rule.stride
        part = slice(first, first + self.recipe.rule.window)
        lanes = self._lanes
        window = Window(lanes.x[:, part], lanes.label[:, part], lanes.start[:, part])
        self.values, self._rows, loss = self._learner.learn(self.values, window, self._rows)
        self._loss += self._checked(float(loss), "loss")
        self._update += 1

    def _checked(self, loss: float, what: str) -> float:
        if not np.isfinite(loss):
            raise Diverged(
                f"the {what} is {loss} in epoch {len(self.history) + 1}: training has diverged. "
                f"Give a lower learning rate (--rate) than {self.recipe.rule.rate}; with a network "
                "of your own, look for a layer without a bound"
            )
        return loss

    def _moment(self) -> Moment:
        skill = self.history[-1][2] if self.history else np.nan
        return Moment(
            len(self.history) + 1, self._update, self.updates, self._loss / self._update, skill
        )

    def _end_epoch(self) -> None:
        loss, skill = np.nan, np.nan
        if self.recipe.validation > 0:
            lanes, outputs = self.outputs(self.values)
            later = np.where((lanes.entry >= self.cut)[..., None], lanes.label, np.nan)
            lost = self.recipe.head.loss(tf.constant(outputs), tf.constant(later))
            loss = self._checked(float(lost), "validation loss")
            skill = skill_of(self.recipe.head, outputs, later)
        best = min((past[1] for past in self.history), default=np.inf)
        if not self.history or self.recipe.validation == 0 or loss < best:
            self.best, self.best_epoch = self.values, len(self.history) + 1
        self.history.append((self._loss / self.updates, loss, skill))
        self._rows = self._learner.fresh_rows()
        self._update, self._loss = 0, 0.0


def skill_of(head: Head, outputs: NDArray[np.float32], label: NDArray[np.float32]) -> float:
    """1 - squared error of the change / that of no change, over the labels that are not NaN."""
    change = outputs.reshape(*label.shape, head.outputs)[..., 0]
    known = np.isfinite(label)
    naive = float((label[known].astype(np.float64) ** 2).sum())
    miss = float(((label[known] - change[known]).astype(np.float64) ** 2).sum())
    return 1.0 - miss / naive if naive > 0.0 else float("nan")
