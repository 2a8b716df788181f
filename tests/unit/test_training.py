"""Training is the same every time, goes on where it stopped, and validation moves nothing."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slotcast_models.recording import Sequence

WINDOW, STRIDE = 16, 8


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    """Imported late, it takes seconds."""
    import keras

    return keras


def periodic(name: str, ticks: int, seed: int) -> Sequence:
    """The next change follows from the last two."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ticks, 2)).astype(np.float32)
    label = np.roll(x[:, :1], 1, axis=0) + 0.5 * x[:, 1:]
    label[-1] = np.nan
    return Sequence(name, np.arange(ticks), x, label)


SEQUENCES = [periodic("a", 300, 0), periodic("b", 200, 1), periodic("c", 120, 2)]


def training(keras: Any, sequences: list[Sequence] | None = None, **changes: Any) -> Any:
    from slotcast_models.learner import LearningRule
    from slotcast_models.network import build_network
    from slotcast_models.training import Recipe, Training

    keras.utils.set_random_seed(5)
    network = build_network((("gru", 8),), 2, 1)
    usual = {"rule": LearningRule(WINDOW, STRIDE, rate=0.01), "epochs": 3, "lanes": 2}
    return Training(network, sequences or SEQUENCES, Recipe(**(usual | changes)))


def finished(of: Any) -> Any:
    for _ in of.run():
        pass
    return of


def bits(captured: dict[str, Any]) -> dict[str, bytes]:
    return {name: np.asarray(value).tobytes() for name, value in captured.items()}


def test_the_same_seed_gives_the_same_bits(keras: Any) -> None:
    once, again = finished(training(keras)), finished(training(keras))

    assert bits(once.capture()) == bits(again.capture())
    for one, other in zip(once.network.weights, again.network.weights, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes()


def test_training_that_was_stopped_anywhere_goes_on_to_the_same_bits(keras: Any) -> None:
    whole = training(keras)
    kept, moments = [], list[Any]()
    for moment in whole.run():
        moments.append(moment)
        kept.append(whole.capture())
    wanted = bits(whole.capture())

    for stop in (0, whole.updates // 2, whole.updates - 1, whole.updates, len(kept) - 1):
        resumed = training(keras)
        resumed.resume(kept[stop])
        rest = list(resumed.run())

        assert bits(resumed.capture()) == wanted
        np.testing.assert_array_equal(rest, moments[stop + 1 :])


def test_it_learns_and_keeps_the_best_epoch(keras: Any) -> None:
    of = finished(training(keras, epochs=8))

    losses = [past[1] for past in of.history]
    assert of.best_epoch == 1 + int(np.argmin(losses))
    assert of.history[of.best_epoch - 1][2] > 0.8
    for weight, variable in zip(of.best.weights, of.network.trainable_variables, strict=True):
        np.testing.assert_array_equal(weight, variable.numpy())


def test_validation_moves_nothing(keras: Any) -> None:
    with_it = training(keras, patience=99)
    sequences = [
        Sequence(s.name, s.entry[s.entry < with_it.cut], *_early(s, with_it.cut)) for s in SEQUENCES
    ]
    without = training(keras, sequences, validation=0.0)

    finished(with_it)
    finished(without)

    assert [past[0] for past in with_it.history] == [past[0] for past in without.history]
    for one, other in zip(with_it.values.weights, without.values.weights, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes()


def _early(sequence: Sequence, cut: int) -> tuple[Any, Any]:
    early = sequence.entry < cut
    label = sequence.label[early].copy()
    label[-1] = np.nan
    return sequence.x[early], label


def test_validation_is_on_what_follows_in_time_from_the_row_that_got_there(keras: Any) -> None:
    of = finished(training(keras, epochs=1))
    lanes, outputs = of.outputs(of.values)

    missed, naive = 0.0, 0.0
    for i, sequence in enumerate(SEQUENCES):
        y = outputs[lanes.source == i][:, 0]
        known = (sequence.entry >= of.cut) & np.isfinite(sequence.label[:, 0])
        missed += ((y - sequence.label[:, 0])[known] ** 2).sum()
        naive += (sequence.label[known, 0] ** 2).sum()
    assert of.cut == 240
    assert of.history[0][2] == pytest.approx(1.0 - missed / naive, rel=1e-5)


def test_it_ends_when_validation_stops_getting_better(keras: Any) -> None:
    rng = np.random.default_rng(0)
    noise = [
        Sequence(
            "n", np.arange(400), *(rng.normal(size=(400, k)).astype(np.float32) for k in (2, 1))
        )
    ]

    of = finished(training(keras, noise, epochs=60, patience=3))

    assert len(of.history) == of.best_epoch + 3 < 60


def test_the_order_of_the_log_is_the_order_of_learning(keras: Any) -> None:
    of = training(keras, [SEQUENCES[0]], validation=0.0)
    seen: list[Any] = []
    learn = of._learner.learn

    def watched(values: Any, window: Any, rows: Any) -> Any:
        seen.append((window, rows))
        return learn(values, window, rows)

    of._learner.learn = watched
    finished(of)

    for epoch in range(3):
        for k in range(of.updates):
            window, rows = seen[epoch * of.updates + k]
            part = SEQUENCES[0].x[k * STRIDE : k * STRIDE + WINDOW]
            np.testing.assert_array_equal(window.x[0, : len(part)], part)
            assert np.asarray(rows).any() == (k > 0)  # fresh at the start of an epoch, then carried


def test_a_part_to_validate_on_without_labels_is_refused(keras: Any) -> None:
    """All its losses would be 0, and the first epoch would be kept as the best."""
    from slotcast_models.training import NothingToLearn

    late = periodic("late", 300, 0)
    late.label[200:] = np.nan

    with pytest.raises(NothingToLearn, match=r"60 for validation.*--validation"):
        training(keras, [late])

    of = finished(training(keras, [late], validation=0.0))
    assert of.best_epoch == len(of.history) == 3


@pytest.mark.parametrize("validation", [0.2, 0.0])
def test_training_that_diverges_ends_with_an_error(keras: Any, validation: float) -> None:
    from slotcast_models.learner import LearningRule
    from slotcast_models.training import Diverged

    rule = LearningRule(WINDOW, STRIDE, rate=1e30)
    of = training(keras, rule=rule, validation=validation)

    with pytest.raises(Diverged, match=r"in epoch 1: .*lower learning rate .*1e\+30"):
        finished(of)


def test_a_validation_loss_that_is_no_number_is_no_best_one(keras: Any) -> None:
    from slotcast_models.training import Diverged

    late = periodic("late", 300, 0)
    late.x[250:] = np.inf

    with pytest.raises(Diverged, match="validation loss is nan in epoch 1"):
        finished(training(keras, [late]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs 0: need 1 or more"),
        ({"patience": 0}, "patience 0"),
        ({"lanes": 0}, "lanes 0"),
        ({"validation": 1.0}, "validation 1.0: need a share from 0 to less than 1"),
        ({"validation": -0.1}, "validation -0.1"),
    ],
)
def test_a_recipe_that_trains_nothing_is_refused(changes: Any, message: str) -> None:
    from slotcast_models.training import Recipe

    with pytest.raises(ValueError, match=message):
        Recipe(**changes)


def test_too_few_ticks_are_refused(keras: Any) -> None:
    from slotcast_models.training import NothingToLearn, Recipe, Training

    silent = Sequence("s", np.arange(20), np.zeros((20, 2), np.float32), np.full((20, 1), np.nan))

    with pytest.raises(NothingToLearn, match="20 ticks, 16 before validation"):
        training(keras, [silent])
    with pytest.raises(NothingToLearn, match="0 ticks"):
        Training(None, [], Recipe())
