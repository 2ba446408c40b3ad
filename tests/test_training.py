from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from buildex.config import from_table, read_toml
from buildex.errors import ConfigError, DatasetError, ModelError, OutputError, TrainingError
from buildex.io.dataset import Dataset
from buildex.nn.history import read_rows
from buildex.nn.module import TrainingModule
from buildex.training import (
    TrainConfig,
    check_run,
    first_process,
    prepare_run,
    train,
)
from tests.nn.made import SMALLEST, write_dataset

ROOT = Path(__file__).parents[1]
TINY = {
    "encoder": SMALLEST, "pretrained": "none", "size": 96, "cells": 8, "rois": 4, "workers": 0,
    "samples_per_epoch": 2, "batch_size": 1, "warmup": 1, "log_every": 1, "device": "cpu",
    "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Threads that wait for each other take minutes on a busy machine, for tensors this small."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("painted") / "dataset")


def config(dataset, output, **changes):
    return TrainConfig(datasets=(dataset,), output=output, **{**TINY, "steps": 4, **changes})


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A run of four steps in two epochs, its settings, its report and what it told."""
    settings = config(dataset, tmp_path_factory.mktemp("trained") / "run")
    told = []
    return settings, train(settings, tell=told.append), told


def rows(run):
    return read_rows(run / "metrics.csv")


def steps_with_losses(run):
    return [int(row["step"]) for row in rows(run) if row["train/loss"]]


def test_a_run_leaves_a_model_metrics_curves_and_checkpoints(trained):
    settings, report, _ = trained
    run = settings.output
    for name in ("config.toml", "metrics.csv", "curves.png"):
        assert (run / name).is_file()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    made = {path.name for path in report.model.iterdir()}
    assert made == {"model.toml", "model.safetensors", "dense.onnx", "roi.onnx"}
    assert report.steps == 4
    assert report.model == run / "model"
    assert steps_with_losses(run) == [1, 2, 3, 4]
    assert [row["step"] for row in rows(run) if row["val/iou"]] == ["2", "4"]


def test_the_model_tells_how_it_was_made(trained):
    _, report, _ = trained
    card = read_toml(report.model / "model.toml")
    made = card["provenance"]
    assert (made["steps"], made["seed"], made["encoder_weights"]) == (4, 0, "none")
    assert made["scenes"] == ["scene-train", "scene-val"]
    assert len(made["datasets"][0]) == 64
    assert made["hours"] == pytest.approx(report.hours, abs=0.001)
    assert card["score"] == card["validation"]["threshold"] == report.best["threshold"]
    assert (card["size"], card["gsd"], card["codec"]["cells"]) == (96, 0.1, 8)


def test_a_report_is_a_line_for_people_and_plain_values_for_programs(trained):
    _, report, _ = trained
    assert "trained 4 steps" in report.text()
    table = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert table["steps"] == 4
    assert set(table["best"]) == set(report.best)


def test_time_ends_a_run_and_once_it_is_over_it_does_not_go_on(dataset, tmp_path):
    few = {"hours": 1.5 / 3600, "samples_per_epoch": 100_000, "graphs": False}
    report = train(config(dataset, tmp_path / "run", steps=100_000, **few))
    assert 1 <= report.steps < 10_000
    assert report.best  # validated, though in the middle of an epoch
    again = train(config(dataset, tmp_path / "run", steps=100_000, **few, resume=True))
    assert again.steps == report.steps


def test_graphs_can_be_left_for_later(dataset, tmp_path):
    report = train(config(dataset, tmp_path / "run", steps=2, graphs=False))
    assert {path.name for path in report.model.iterdir()} == {"model.toml", "model.safetensors"}


def test_the_config_of_a_run_makes_it_again(trained):
    settings, _, _ = trained
    again = from_table(TrainConfig, read_toml(settings.output / "config.toml"))
    assert dataclasses.replace(again, output=settings.output) == settings


def test_a_run_that_is_there_is_left_alone(trained):
    settings, _, _ = trained
    before = (settings.output / "metrics.csv").read_bytes()
    with pytest.raises(OutputError, match="exists") as caught:
        train(settings)
    assert "--resume" in caught.value.hint
    assert (settings.output / "metrics.csv").read_bytes() == before


def interrupting(after):
    """Progress that is interrupted once so many steps are done."""

    def track(items, *, total=None, label=""):
        for count, item in enumerate(items):
            if count == after:
                raise KeyboardInterrupt
            yield item

    return track


def test_an_interrupted_run_goes_on_to_the_same_number_of_steps(dataset, tmp_path):
    settings = config(dataset, tmp_path / "run", steps=4, samples_per_epoch=4)
    with pytest.raises(KeyboardInterrupt):
        train(settings, track=interrupting(after=3))
    assert not (tmp_path / "run" / "model").exists()
    spent = float(rows(tmp_path / "run")[-1]["seconds"])
    report = train(dataclasses.replace(settings, resume=True))
    assert report.steps == 4
    assert steps_with_losses(tmp_path / "run") == [1, 2, 3, 4]
    assert report.hours * 3600 > spent
    assert (report.model / "model.safetensors").is_file()


def interrupted(settings, after):
    with pytest.raises(KeyboardInterrupt):
        train(settings, track=interrupting(after=after))
    return dataclasses.replace(settings, resume=True, graphs=False)


def test_the_exported_network_is_the_averaged_one_that_was_validated(dataset, tmp_path):
    fast = {"steps": 4, "samples_per_epoch": 4, "schedule": "constant", "graphs": False}
    averaged = train(config(dataset, tmp_path / "run", average=0.9, **fast))
    plain = train(config(dataset, tmp_path / "plain", average=0.0, **fast))
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    validated, raw = weights(averaged.model), weights(plain.model)
    for name, value in validated.items():
        assert torch.equal(value, last["state_dict"][f"network.{name}"].to(value.dtype)), name
    assert any(not torch.equal(value, raw[name]) for name, value in validated.items())
    measured = rows(tmp_path / "run")[-1]
    assert {k: f"{v:.5g}" for k, v in averaged.best.items()} == {
        k: measured[f"val/{k}"] for k in averaged.best
    }


def test_a_run_whose_time_is_over_before_it_was_validated_is_validated(dataset, tmp_path):
    settings = interrupted(config(dataset, tmp_path / "run", samples_per_epoch=4), after=3)
    report = train(dataclasses.replace(settings, hours=1e-9))
    assert report.steps < 4
    assert report.best["threshold"] == read_toml(report.model / "model.toml")["score"]
    assert len([row for row in rows(report.run) if row["val/iou"]]) == 1


def lasting(table):
    """What of a run's rows does not depend on when it was trained."""
    return [[v for name, v in row.items() if name not in ("seconds", "epoch")] for row in table]


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    settings = config(
        dataset, tmp_path_factory.mktemp("undisturbed") / "run", steps=6, graphs=False
    )
    return rows(train(settings).run)


@pytest.mark.parametrize("validation", [0, 1, 2])
def test_a_validation_that_was_interrupted_is_made_when_the_run_goes_on(
    dataset, undisturbed, tmp_path, monkeypatch, validation
):
    """The run ends as if nothing had happened, but for the seconds."""
    settings = config(dataset, tmp_path / "run", steps=6, save_every=50, graphs=False)
    validate, tiles = TrainingModule.validation_step, []

    def stopped(module, batch, index):
        tiles.append(index)
        if tiles.count(0) > validation and index == 1:
            raise KeyboardInterrupt
        return validate(module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "validation_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    report = train(dataclasses.replace(settings, resume=True))
    assert report.steps == 6
    assert lasting(rows(report.run)) == lasting(undisturbed)


def test_a_run_that_was_stopped_in_an_epoch_ends_as_if_nothing_had_happened(
    dataset, undisturbed, tmp_path
):
    settings = interrupted(config(dataset, tmp_path / "run", steps=6), after=3)
    assert lasting(rows(train(settings).run)) == lasting(undisturbed)


def test_a_run_goes_on_to_its_steps_whatever_its_epochs_are_now(dataset, tmp_path):
    settings = interrupted(config(dataset, tmp_path / "run", steps=6), after=4)
    report = train(dataclasses.replace(settings, samples_per_epoch=4, steps=8))
    assert report.steps == 8
    assert train(dataclasses.replace(settings, steps=2)).steps == 8


def test_a_run_goes_on_with_the_learning_rate_that_is_asked_for_now(dataset, tmp_path):
    begun = config(
        dataset, tmp_path / "run", samples_per_epoch=4, schedule="constant", log_every=1, lr=1e-3
    )
    settings = interrupted(begun, after=3)
    train(dataclasses.replace(settings, lr=1e-5))
    rates = [float(row["lr"]) for row in rows(tmp_path / "run") if row["train/loss"]]
    assert rates == [1e-3, 1e-3, 1e-3, 1e-5]


def test_settings_given_when_a_run_goes_on_stay_with_it(dataset, tmp_path):
    begun = config(
        dataset, tmp_path / "run", steps=2, scene_weights={"scene-train": 2.0, "none-*": 0.5}
    )
    told = []
    train(begun, tell=told.append)
    assert "no scene fits `none-*` of the scene weights" in told
    train(dataclasses.replace(begun, resume=True, steps=4, lr=1e-5))
    now = read_toml(tmp_path / "run" / "config.toml")
    assert (now["steps"], now["lr"], now["scene_weights"]["scene-train"]) == (4, 1e-5, 2.0)


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_damaged_checkpoint_is_told(dataset, trained, tmp_path, name):
    settings, report, _ = trained
    shutil.copytree(report.run, tmp_path / "run")
    kept = tmp_path / "run" / "checkpoints" / name
    kept.write_bytes(kept.read_bytes()[:10_000])
    with pytest.raises(TrainingError, match=rf"{name}` is damaged"):
        train(dataclasses.replace(settings, output=tmp_path / "run", resume=True))


def test_weights_may_be_read_by_whoever_may_read_their_card(trained):
    _, report, _ = trained
    modes = {path.stat().st_mode & 0o777 for path in report.model.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("other", [{"cells": 16}, {"frozen_stages": 0}, {"optimiser": "adam"}])
def test_a_run_does_not_go_on_as_another_make(dataset, trained, other):
    settings, report, _ = trained
    with pytest.raises(TrainingError, match=rf"was begun with {next(iter(other))} = "):
        train(dataclasses.replace(settings, resume=True, **other))
    assert (report.model / "model.toml").is_file()


def test_a_default_that_is_named_makes_no_other_make(dataset, trained):
    settings, report, _ = trained
    named = dataclasses.replace(settings, resume=True, corners=settings.network.corners)
    assert settings.corners is None
    assert named.corners is not None
    assert check_run(named) == report.run / "checkpoints" / "last.ckpt"


def test_a_disk_that_takes_no_more_is_told_in_one_line(dataset, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("buildex.nn.history._append", full)
    with pytest.raises(OutputError, match="No space left on device"):
        train(config(dataset, tmp_path / "run", steps=2))


@pytest.mark.parametrize("wrong", [{"margin": -0.5}, {"spread": math.nan}, {"spread": 0.0}])
def test_frames_and_bumps_that_could_teach_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_a_best_network_of_an_older_version_is_replaced(dataset, trained, tmp_path):
    settings, report, _ = trained
    shutil.copytree(report.run, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    state = torch.load(best, weights_only=True)["state_dict"]
    torch.save({"state_dict": state}, best)
    again = train(dataclasses.replace(settings, output=tmp_path / "run", resume=True))
    assert again.best.keys() == report.best.keys()


def test_more_devices_than_tiles_to_validate_on_are_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="too few for 99 devices"):
        train(config(dataset, tmp_path / "run", devices=99, samples_per_epoch=99))
    assert not (tmp_path / "run").exists()


SLURM, TORCHRUN = {"SLURM_NTASKS": "4"}, {"TORCHELASTIC_RUN_ID": "none"}


@pytest.mark.parametrize(
    ("environment", "devices", "first"),
    [
        ({}, 2, True),
        ({"LOCAL_RANK": "0"}, 2, True),
        ({"LOCAL_RANK": "1"}, 2, False),
        ({**SLURM, "SLURM_PROCID": "0"}, 2, True),
        ({**SLURM, "SLURM_PROCID": "3"}, 4, False),  # SLURM sets no LOCAL_RANK
        ({**SLURM, "SLURM_PROCID": "3", "RANK": "0"}, 4, False),  # set by a container for all
        ({**SLURM, "SLURM_PROCID": "1", "SLURM_JOB_NAME": "bash"}, 2, True),  # starts the others
        ({**SLURM, "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash", "LOCAL_RANK": "1"}, 2, False),
        ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0"}, 4, False),
        ({**TORCHRUN, **SLURM, "RANK": "1", "SLURM_PROCID": "0"}, 4, False),
        ({"RANK": "0", "LOCAL_RANK": "1"}, 2, False),  # Lightning's, in a container that set RANK
        ({"RANK": "1"}, 2, True),  # the one that started it
        ({"RANK": ""}, 2, True),
        ({**SLURM, "SLURM_PROCID": "3"}, 1, True),  # tasks that each train a network of their own
    ],
)
def test_of_processes_that_train_together_one_is_the_first(
    monkeypatch, environment, devices, first
):
    for name in (
        "RANK",
        "LOCAL_RANK",
        "TORCHELASTIC_RUN_ID",
        *(n for n in os.environ if "SLURM" in n),
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert first_process(devices) == first


def test_a_run_folder_that_cannot_be_made_is_told(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        train(config(dataset, tmp_path / "file" / "run"))


def test_there_must_be_a_checkpoint_to_go_on_from(dataset, tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint to go on from"):
        train(config(dataset, tmp_path / "run", resume=True))
    assert not (tmp_path / "run").exists()


def test_without_validation_tiles_the_last_network_is_exported(tmp_path):
    alone = write_dataset(tmp_path / "dataset", splits=("train",))
    told = []
    settings = config(alone, tmp_path / "run", steps=2, patience=1)
    report = train(settings, tell=told.append)
    assert report.best == {}
    assert "there was none" in report.text()
    assert any("no dataset has tiles of the split `val`" in line for line in told)
    assert read_toml(report.model / "model.toml")["score"] == 0.5


def test_a_run_without_validation_tiles_goes_on_after_its_end(tmp_path):
    alone = write_dataset(tmp_path / "dataset", splits=("train",))
    settings = config(alone, tmp_path / "run", steps=2, graphs=False)
    train(settings)
    assert train(dataclasses.replace(settings, steps=4, resume=True)).steps == 4
    assert steps_with_losses(tmp_path / "run") == [1, 2, 3, 4]


def test_training_stops_when_validation_gets_no_better(dataset, tmp_path):
    settings = config(dataset, tmp_path / "run", steps=20, lr=1e-7, patience=1)
    assert train(settings).steps == 4  # the second validation is no better than the first


def test_gradients_of_several_batches_make_one_step(dataset, tmp_path):
    settings = config(dataset, tmp_path / "run", steps=2, samples_per_epoch=5, accumulate=2)
    assert (settings.steps_per_epoch, settings.feeding.samples) == (2, 4)
    assert train(settings).steps == 2
    assert steps_with_losses(tmp_path / "run") == [1, 2]


def test_a_dataset_without_training_tiles_is_refused(tmp_path):
    alone = write_dataset(tmp_path / "dataset", splits=("val",))
    with pytest.raises(TrainingError, match="split `train`"):
        train(config(alone, tmp_path / "run"))


def test_scenes_that_are_all_weighed_away_are_refused(dataset, tmp_path):
    with pytest.raises(TrainingError, match="split `train`"):
        train(config(dataset, tmp_path / "run", scene_weights={"*": 0.0}))


def test_datasets_of_different_pixel_sizes_are_refused(dataset, tmp_path):
    coarse = write_dataset(tmp_path / "coarse", gsd=0.2)
    settings = dataclasses.replace(config(dataset, tmp_path / "run"), datasets=(dataset, coarse))
    with pytest.raises(TrainingError, match=r"pixels of 0\.1 m, 0\.2 m"):
        train(settings)


def weights(model):
    return load_file(model / "model.safetensors")


def without_statistics(tensors):
    """Running means and variances follow the batches, whatever the learning rate is."""
    return {name: value for name, value in tensors.items() if ".running_" not in name
            and "num_batches" not in name}  # fmt: skip


@pytest.mark.parametrize(("frozen", "batches"), [(True, 0), (False, 2)])
def test_norms_count_batches_unless_they_are_frozen(dataset, tmp_path, frozen, batches):
    """Two epochs: the second comes after a validation, which changes modes."""
    settings = config(dataset, tmp_path / "run", steps=2, samples_per_epoch=1, average=0.0,
                      freeze_norms=frozen)  # fmt: skip
    train(settings)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    counts = [int(v) for n, v in last["state_dict"].items() if n.endswith("num_batches_tracked")]
    assert set(counts) == {batches}


def test_training_can_start_from_a_model(dataset, trained, tmp_path):
    _, first, _ = trained
    settings = config(dataset, tmp_path / "run", steps=2, lr=1e-7, init=str(first.model))
    started, tuned = weights(first.model), weights(train(settings).model)
    assert all(value.isfinite().all() for value in tuned.values())
    for name, before in without_statistics(started).items():
        assert torch.allclose(tuned[name], before, atol=1e-3), name
    card = read_toml(tmp_path / "run" / "model" / "model.toml")
    assert card["provenance"]["init"] == "buildex-model version 1"
    assert card["provenance"]["encoder_weights"] == "none"  # as the first model's were


ANCHORED = {
    "lr": 0.1, "schedule": "constant", "average": 0.5, "freeze_norms": True, "graphs": False,
}  # fmt: skip


def test_a_share_of_the_first_weights_stays_in_what_is_exported(dataset, trained, tmp_path):
    _, first, _ = trained
    start = weights(first.model)

    def far(share):
        """How far from the first weights the exported ones lie."""
        run = tmp_path / f"run-{share}"
        settings = config(dataset, run, init=str(first.model), init_share=share, **ANCHORED)
        return {
            k: v.double() - start[k].double() for k, v in weights(train(settings).model).items()
        }

    learnt, half = far(0.0), far(0.5)
    moved = [name for name, value in learnt.items() if value.abs().max() > 0.01]
    assert len(moved) > 20
    for name in moved:
        shrunk = half[name].abs().mean() / learnt[name].abs().mean()
        # Without a share the average begins with step 1, with one at the start: soon forgotten.
        assert shrunk == pytest.approx(0.5, abs=0.05), name


def test_a_run_that_shares_first_weights_goes_on_without_their_model(dataset, trained, tmp_path):
    _, first, _ = trained
    mine = tmp_path / "mine"
    shutil.copytree(first.model, mine)
    settings = {"init": str(mine), "init_share": 0.5, "steps": 6, **ANCHORED}
    undisturbed = weights(train(config(dataset, tmp_path / "undisturbed", **settings)).model)
    stopped = interrupted(config(dataset, tmp_path / "run", **settings), after=3)
    shutil.rmtree(mine)
    for name, value in weights(train(stopped).model).items():
        assert torch.equal(value, undisturbed[name]), name
    with pytest.raises(TrainingError, match=r"begun with init_share = 0\.5"):
        train(dataclasses.replace(stopped, init_share=0.25))


@pytest.mark.parametrize("missing", [{"init": None}, {"average": 0.0}, {"freeze_norms": False}])
def test_first_weights_are_shared_where_there_are_any(dataset, tmp_path, missing):
    settings = {"init": "mine", "average": 0.9, "freeze_norms": True, **missing}
    with pytest.raises(ConfigError, match="init_share"):
        config(dataset, tmp_path / "run", init_share=0.5, **settings)


@pytest.fixture
def old_run(tmp_path):
    """A folder as training leaves it, with things of the user's own in it."""
    run = tmp_path / "run"
    for name in ("checkpoints", "model", "tensorboard"):
        (run / name).mkdir(parents=True)
        (run / name / "old").touch()
    for name in ("metrics.csv", "curves.png", "notes.txt", "mine.toml"):
        (run / name).touch()
    (run / "config.toml").write_text('datasets = ["town"]\nencoder = "resnet18"\nsteps = 9\n')
    return run


def test_overwriting_takes_what_training_wrote_and_nothing_else(dataset, old_run):
    shutil.copytree(dataset, old_run / "dataset")
    settings = config(old_run / "dataset", old_run, overwrite=True)
    assert check_run(settings) is None
    prepare_run(settings)
    left = {path.name for path in old_run.iterdir()}
    assert left == {"config.toml", "checkpoints", "dataset", "notes.txt", "mine.toml"}
    assert list((old_run / "checkpoints").iterdir()) == []
    assert Dataset.open(old_run / "dataset").scenes


@pytest.mark.parametrize("place", ["dataset", "weights"])
def test_what_training_needs_is_not_overwritten(dataset, old_run, place):
    inside = old_run / "model" / "needed"
    changes = {"pretrained": str(inside)} if place == "weights" else {}
    settings = config(inside if place == "dataset" else dataset, old_run, overwrite=True, **changes)
    with pytest.raises(OutputError, match="needed` lies in `"):
        check_run(settings)
    assert (old_run / "model" / "old").is_file()


@pytest.mark.parametrize("place", ["tensorboard", "model", "checkpoints"])
def test_an_overwriting_that_failed_can_be_repeated(dataset, old_run, monkeypatch, place):
    settings = config(dataset, old_run, overwrite=True)
    remove = shutil.rmtree

    def stuck(path, *others, **options):
        if path.name == place:
            raise OSError(39, "Directory not empty")
        remove(path, *others, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stuck)
        with pytest.raises(OutputError, match="Directory not empty"):
            prepare_run(settings)
    assert check_run(settings) is None
    prepare_run(settings)
    assert not (old_run / place / "old").exists()


@pytest.mark.parametrize("going_on", [True, False])
def test_what_a_killed_run_left_of_its_files_goes(dataset, trained, tmp_path, going_on):
    """A table that was begun would have been gone on with."""
    settings, report, _ = trained
    run = tmp_path / "run"
    shutil.copytree(report.run, run)
    lines = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.part.csv").write_text("\n".join(lines[:3]) + "\n")
    (run / "curves.part.png").touch()
    for name in ("checkpoints/.last.ckpt", "checkpoints/.best.ckpt", ".config.toml"):
        (run / f"{name}.buildex-killed_1").mkdir()
    train(dataclasses.replace(settings, output=run, resume=going_on, overwrite=not going_on))
    assert not [*run.rglob("*.buildex-*"), *run.glob("*.part*")]
    assert steps_with_losses(run) == [1, 2, 3, 4]


@pytest.mark.parametrize("kept", ["checkpoints", "model", "metrics.csv"])
def test_a_finished_run_of_which_something_was_kept_can_be_overwritten(dataset, old_run, kept):
    for name in {"checkpoints", "model"} - {kept}:
        shutil.rmtree(old_run / name)
    if kept != "metrics.csv":
        (old_run / "metrics.csv").unlink()
    assert check_run(config(dataset, old_run, overwrite=True)) is None


@pytest.mark.parametrize("settings", ['title = "mine"\n', "no table"])
def test_a_folder_with_settings_of_something_else_is_no_run_to_overwrite(
    dataset, old_run, settings
):
    (old_run / "config.toml").write_text(settings)
    with pytest.raises(OutputError, match="is not a training run"):
        check_run(config(dataset, old_run, overwrite=True))


def test_nor_is_one_with_settings_alone(dataset, old_run):
    for name in ("checkpoints", "model"):
        shutil.rmtree(old_run / name)
    (old_run / "metrics.csv").unlink()
    with pytest.raises(OutputError, match="is not a training run"):
        check_run(config(dataset, old_run, overwrite=True))


def test_a_run_does_not_begin_from_the_model_that_it_would_replace(dataset, trained, tmp_path):
    _, first, _ = trained
    shutil.copytree(first.run, tmp_path / "run")
    inside = tmp_path / "run" / "model"
    with pytest.raises(OutputError, match="would be overwritten"):
        train(config(dataset, tmp_path / "run", init=str(inside), overwrite=True))
    assert (inside / "model.toml").is_file()


def test_a_run_goes_on_where_its_first_model_is_gone(dataset, trained, tmp_path, monkeypatch):
    _, first, _ = trained
    shutil.copytree(first.model, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    train(config(dataset, run, steps=2, init="mine"))
    assert read_toml(run / "config.toml")["init"] == str(tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine")
    train(config(dataset, run, steps=4, init="mine", resume=True))
    made = read_toml(run / "model" / "model.toml")["provenance"]
    assert (made["steps"], made["init"]) == (4, "mine")


def test_a_model_of_another_make_is_no_start(dataset, trained, tmp_path):
    _, first, _ = trained
    with pytest.raises(ModelError, match="is of another make"):
        train(config(dataset, tmp_path / "run", init=str(first.model), cells=16))
    assert not (tmp_path / "run").exists()


def test_a_model_that_keeps_more_boxes_is_of_the_same_make(dataset, trained, tmp_path):
    _, first, _ = trained
    settings = config(dataset, tmp_path / "run", steps=1, init=str(first.model), overlap=0.5)
    card = read_toml(train(settings).model / "model.toml")
    assert card["network"]["overlap"] == 0.5


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"encoder": "resnet_of_mine"}, ModelError),
        ({"pretrained": "missing.safetensors"}, ModelError),
        ({"init": "no-such-model"}, ModelError),
        ({"device": "tpu"}, ConfigError),
    ],
)
def test_what_cannot_begin_leaves_no_run_folder(dataset, tmp_path, changes, error):
    with pytest.raises(error):
        train(config(dataset, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_none_is_refused(tmp_path):
    with pytest.raises(DatasetError):
        train(config(tmp_path, tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cells": 7}, "even number"),
        ({"cells": 4}, "8 to 256"),
        ({"size": 100}, "multiple of 32"),
        ({"size": 64}, "96 to 4096"),
        ({"steps": 0}, "1 or more"),
        ({"lr": 0.0}, "lr is 0"),
        ({"frozen_stages": 6}, "0 to 5"),
        ({"scale_low": 2.0}, "least zoom"),
        ({"seed": -1}, "seed is -1; use 0 or more"),
        ({"warmup": -1}, "warmup is -1"),
        ({"patience": -1}, "patience is -1"),
        ({"clip": math.nan}, "clip is nan"),
        ({"mask_weight": -1.0}, "0 to 1000"),
        ({"dice": math.nan}, "dice is nan"),
        ({"weight_decay": -1.0}, "0 to 1"),
        ({"encoder_lr": math.nan}, "encoder_lr is nan"),
        ({"light": -1.0}, "0 to 10"),
        ({"scene_weights": {"a-*": -1.0}}, "the weight of `a-*` is -1.0"),
        ({"scene_weights": {"a-*": math.nan}}, "is nan"),
        ({"samples_per_epoch": 3, "batch_size": 4}, "less than one step"),
        ({"model": "center-mask", "corners": "features"}, "has no keypoints"),
        ({"proposal_overlap": 1.5}, "proposal_overlap is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(changes, says):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**changes)
    assert says in str(caught.value)


def test_an_epoch_is_whole_steps_and_a_run_is_whole_epochs():
    settings = TrainConfig(steps=250, samples_per_epoch=1001, batch_size=4, accumulate=2)
    assert settings.steps_per_epoch == 125
    assert (settings.epochs, settings.total_steps) == (2, 250)
    assert settings.feeding.samples == 1000
    assert dataclasses.replace(settings, steps=251).total_steps == 375


def test_settings_reach_the_part_they_are_for():
    settings = TrainConfig(cells=16, margin=0.2, rois=5, clip=1.0, degrade=2.0, light=0.5)
    assert (settings.network.roi_cells, settings.codec.margin) == (8, 0.2)
    assert settings.learning(0.3).rois == 5
    assert settings.learning(0.3).gsd == 0.3
    assert settings.loop.clip == 1.0
    assert settings.feeding.augment.haze == pytest.approx(0.3)
    assert settings.feeding.augment.light == 0.5
    plain = TrainConfig(cells=28, roi_scale=1, roi_norm=False, dice=0.0, model="mask-rcnn")
    assert (plain.network.roi_cells, plain.network.roi_norm) == (28, False)
    assert plain.network.architecture == "mask-rcnn"
    assert plain.learning(0.1).dice == 0


def python(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_settings_are_known_without_torch():
    code = "import sys, buildex.cli.train; print({'torch', 'lightning'} & set(sys.modules))"
    assert python(code).stdout == "set()\n"


BARE = """
import sys
from importlib import metadata
absent, distribution = sys.argv[3].split(), metadata.distribution
def present(name):
    if name in absent:
        raise metadata.PackageNotFoundError(name)
    return distribution(name)
metadata.distribution = present
sys.modules.update(dict.fromkeys(absent))  # None: importing it fails
from pathlib import Path
from buildex.training import TrainConfig, train
report = train(TrainConfig(
    datasets=(Path(sys.argv[1]),), output=Path(sys.argv[2]), steps=1, samples_per_epoch=1,
    batch_size=1, encoder="test_efficientnet", pretrained="none", size=96, cells=8, workers=0,
), tell=print)
print(report.steps)
"""
ABSENT = (
    "shapely scipy affine rasterio pyogrio geopandas pandas pyarrow pyproj click contourpy "
    "matplotlib tensorboard tensorboardX"
)


def test_training_needs_no_geographic_library(dataset, tmp_path):
    done = python(BARE, dataset, tmp_path / "run", ABSENT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1"
    assert "tensorboard is not installed" in done.stdout
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
