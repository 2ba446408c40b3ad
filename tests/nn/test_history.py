from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from buildex.io.output import beside
from buildex.nn.checkpoints import Checkpoints
from buildex.nn.history import (
    COLUMNS,
    LOSSES,
    SCORES,
    History,
    KeepBest,
    Progress,
    SaveOnInterrupt,
    read_rows,
)


class Trainer(SimpleNamespace):
    """As much of Lightning's as callbacks look at."""

    def __init__(self, step=0, loss=1.0, score=0.5, **others):
        losses = {f"train/{name}": torch.tensor(loss) for name in LOSSES}
        scores = {f"val/{name}": torch.tensor(score) for name in SCORES}
        groups = [{"lr": 0.0003}, {"lr": 0.001}]
        super().__init__(
            global_step=step, current_epoch=0, is_global_zero=True, validating=False,
            callback_metrics={**losses, **scores},
            optimizers=[SimpleNamespace(param_groups=groups)], saved=[], **others,
        )  # fmt: skip

    def save_checkpoint(self, path):
        self.saved.append(path)


def run(history, losses, first=1):
    for step, loss in enumerate(losses, start=first):
        history.on_train_batch_end(Trainer(step, loss), None, None, None, 0)


@pytest.fixture
def history(tmp_path):
    return History(tmp_path, every=2, tell=lambda _: None)


def rows(history):
    return read_rows(history.folder / "metrics.csv")


def test_a_row_of_losses_is_their_mean_since_the_last(history):
    run(history, [1.0, 3.0, 10.0, 30.0])
    assert [(row["step"], row["train/loss"]) for row in rows(history)] == [("2", "2"), ("4", "20")]
    assert rows(history)[0]["lr"] == "0.001"
    assert list(rows(history)[0]) == list(COLUMNS)


def test_batches_that_make_one_step_make_one_row(history):
    for step in (0, 1, 1, 2, 2, 3):  # every second batch makes a step
        history.on_train_batch_end(Trainer(step), None, None, None, 0)
    assert [row["step"] for row in rows(history)] == ["2"]


def test_a_validation_leaves_its_measures_and_a_picture(history):
    run(history, [2.0, 1.0])
    history.on_validation_end(Trainer(2, score=0.75), None)
    assert rows(history)[1]["val/iou"] == "0.75"
    assert rows(history)[1]["train/loss"] == ""
    with Image.open(history.folder / "curves.png") as picture:
        assert picture.size == (900, 480)
        assert len(picture.getcolors(9999)) > 4


def test_other_processes_write_nothing(history):
    trainer = Trainer(2)
    trainer.is_global_zero = False
    history.on_train_batch_end(trainer, None, None, None, 0)
    history.on_validation_end(trainer, None)
    assert list(history.folder.iterdir()) == []


def test_a_run_that_goes_on_forgets_rows_beyond_its_checkpoint(history):
    run(history, [1.0] * 6)
    again = History(history.folder, every=2, tell=lambda _: None)
    again.on_train_start(Trainer(3), None)
    run(again, [5.0] * 3, first=4)
    assert [row["step"] for row in rows(again)] == ["2", "4", "6"]
    assert rows(again)[1]["train/loss"] == "5"
    assert [path.name for path in again.folder.iterdir()] == ["metrics.csv"]


def test_time_adds_up_over_sessions(history):
    later = History(history.folder, every=2, tell=lambda _: None)
    later.load_state_dict({"seconds": 3600.0})
    assert 3600 <= later.state_dict()["seconds"] < 3610
    assert history.seconds < 10


def kept(path):
    return torch.load(path, weights_only=True)


def validated(keeper, weight, score):
    """Tell a keeper of a validation of a network with one weight."""
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(weight)
    keeper.on_validation_end(Trainer(score=score), network)


def test_the_network_of_the_last_of_the_best_validations_is_kept_with_its_measures(tmp_path):
    keeper = KeepBest(Checkpoints(tmp_path, beside), "iou")
    for weight, score in enumerate((float("nan"), 0.5, 0.75, 0.75, float("nan"))):
        validated(keeper, weight, score)
    best = kept(tmp_path / "best.ckpt")
    assert best["state_dict"]["weight"].item() == 3  # as good, and has learnt longer
    assert best["measures"] == dict.fromkeys(SCORES, 0.75)
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]


def test_even_a_validation_without_a_measure_is_kept_where_it_is_the_first(tmp_path):
    validated(KeepBest(Checkpoints(tmp_path, beside), "iou"), 7, float("nan"))
    assert kept(tmp_path / "best.ckpt")["state_dict"]["weight"].item() == 7


def test_a_run_that_goes_on_keeps_a_better_network_of_before(tmp_path):
    validated(KeepBest(Checkpoints(tmp_path, beside), "iou"), 1, 0.75)
    later = KeepBest(Checkpoints(tmp_path, beside), "iou")
    later.on_fit_start(Trainer(), None)
    validated(later, 2, 0.5)
    assert kept(tmp_path / "best.ckpt")["state_dict"]["weight"].item() == 1
    validated(later, 3, 0.875)
    assert kept(tmp_path / "best.ckpt")["state_dict"]["weight"].item() == 3


def test_progress_counts_the_steps_that_are_left():
    shown = []

    def track(items, *, total, label):
        shown.append((total, label))
        for item in items:
            shown.append(item)
            yield item

    progress = Progress(track, steps=6)
    progress.on_train_start(Trainer(3), None)
    for step in (3, 4, 4, 5, 6):
        progress.on_train_batch_end(Trainer(step))
    assert shown == [(3, "training"), 3, 4, 5]


def test_where_the_clock_ends_a_run_nobody_says_how_many_steps_are_left():
    shown = []

    def track(items, *, total=None, label):
        shown.append((total, hasattr(items, "__len__"), label))
        yield from items

    progress = Progress(track, steps=100, hours=0.5)
    progress.on_train_start(Trainer(3), None)
    progress.on_train_batch_end(Trainer(4))
    assert shown == [(None, False, "training for 0.5 h")]


@pytest.mark.parametrize(
    ("step", "validating", "saved"), [(7, False, 1), (0, False, 0), (7, True, 0)]
)
def test_an_interrupt_leaves_a_checkpoint_where_there_is_something_to_keep(
    tmp_path, step, validating, saved
):
    trainer = Trainer(step)
    trainer.validating = validating
    SaveOnInterrupt(tmp_path / "last.ckpt").on_exception(trainer)
    assert len(trainer.saved) == saved
