from __future__ import annotations

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from buildex.card import read_card
from buildex.cli.main import main
from buildex.cli.options import collect
from buildex.config import from_table, read_toml
from buildex.geo.boxes import PixelBox
from buildex.geo.instances import Tile
from buildex.io.zoo import find_model
from buildex.nn.augment import NO_AUGMENT
from buildex.nn.losses import focal_loss
from buildex.nn.presets import ADAPT, PAPER, PRESETS
from buildex.nn.recipe import TrainConfig
from buildex.nn.segmenter import load_segmenter
from tests.cli.helped import named_in
from tests.nn.made import SMALLEST, write_dataset

ROOT = Path(__file__).parents[2]
TINY = (
    "--encoder", SMALLEST, "--pretrained", "none", "--size", "96", "--cells", "8",
    "--batch-size", "1", "--workers", "0", "--device", "cpu", "--log-every", "1",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("painted") / "dataset")


def run(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = run(dataset, "-o", folder, *TINY, "--steps", 2, "--samples-per-epoch", 2, "--json")
    assert done.exit_code == 0, done.output
    return folder, done


def test_a_model_is_trained_from_the_command_line(trained):
    folder, done = trained
    report = json.loads(done.stdout)
    assert report["steps"] == 2
    assert Path(report["model"]) == folder / "model"
    assert "step 1: loss" in done.stderr
    assert (folder / "model" / "model.safetensors").is_file()


def test_a_run_goes_on_with_its_own_settings_unless_others_are_given(trained):
    folder, _ = trained
    done = run("-o", folder, "--resume", "--steps", 4)
    assert done.exit_code == 0, done.output
    assert "trained 4 steps" in done.stdout
    card = read_toml(folder / "model" / "model.toml")
    assert card["network"]["encoder"] == SMALLEST
    assert card["provenance"]["steps"] == 4


def test_a_file_counts_more_than_the_settings_of_a_run_that_goes_on(trained, tmp_path):
    folder, _ = trained
    file = tmp_path / "more.toml"
    file.write_text("steps = 6\n")
    done = run("-o", folder, "--resume", "--config", file)
    assert done.exit_code == 0, done.output
    assert "trained 6 steps" in done.stdout
    now = read_toml(folder / "config.toml")
    assert (now["steps"], now["encoder"], now["size"]) == (6, SMALLEST, 96)


def test_a_file_can_ask_to_go_on(trained, tmp_path):
    folder, _ = trained
    file = tmp_path / "on.toml"
    file.write_text("resume = true\nsteps = 8\n")
    done = run("-o", folder, "--config", file)
    assert done.exit_code == 0, done.output
    assert read_toml(folder / "config.toml")["encoder"] == SMALLEST


def test_a_run_that_is_there_is_refused_in_one_line(dataset, trained):
    folder, _ = trained
    done = run(dataset, "-o", folder, *TINY)
    assert done.exit_code == 1
    assert done.stderr.endswith("or name another\n")
    assert done.stderr.count("\n") == 1


def test_settings_come_from_a_file_and_options_count_more(dataset, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('encoder = "resnet_of_mine"\npretrained = "none"\n')
    from_file = run(dataset, "-o", tmp_path / "run", "--config", file)
    given = run(dataset, "-o", tmp_path / "run", "--config", file, "--encoder", "vgg_of_mine")
    assert "no encoder `resnet_of_mine`" in from_file.stderr
    assert "no encoder `vgg_of_mine`" in given.stderr
    assert from_file.exit_code == given.exit_code == 1


def test_an_unknown_key_of_a_file_is_named(dataset, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("learning_rate = 0.1\n")
    done = run(dataset, "-o", tmp_path / "run", "--config", file)
    assert done.exit_code == 1
    assert "unknown key `learning_rate`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_wrong_usage_is_exit_2(dataset, tmp_path):
    assert run(dataset).exit_code == 2
    assert run("-o", tmp_path / "run").exit_code == 2
    assert run(dataset, "-o", tmp_path / "run", "--steps", "many").exit_code == 2
    assert run(dataset, "-o", tmp_path / "run", "--scene-weights", "dhaka").exit_code == 2


def test_help_tells_every_setting():
    text = run("--help").stdout
    assert named_in(text, TrainConfig) >= {"--output", "--config", "--preset", "--json"}
    assert "Example: buildex train" in text


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (("--model", "mask-rcnn", "--corners", "features"), "`mask-rcnn` has no keypoints", 2),
        (("--model", "mask-rcnn", "--anchor-sizes", 32), "1 anchor_sizes for 5 anchor_strides", 2),
        (("--model", "fcos-keypoint", "--pyramid-channels", 80), "pyramid_channels is 80", 2),
        (("--pretrained", "maskrcnn_resnet5"), "no first weights `maskrcnn_resnet5`", 1),
    ],
)
def test_parts_that_do_not_fit_are_told_and_leave_nothing(dataset, tmp_path, arguments, says, code):
    done = run(dataset, "-o", tmp_path / "run", *TINY, *arguments)
    assert done.exit_code == code
    assert says in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "corners"),
    [("unet", None), ("mask-rcnn", None), ("center-mask", None),
     ("mask-rcnn-keypoint", "features"), ("fcos-keypoint", "mask-only")],
)  # fmt: skip
def test_every_system_is_trained_and_exported_by_the_same_command(
    dataset, tmp_path, model, corners
):
    folder = tmp_path / "run"
    scenario = ("--corners", corners) if corners else ()
    done = run(
        dataset, "-o", folder, *TINY, "--model", model, *scenario, "--steps", 2,
        "--samples-per-epoch", 2,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    segmenter = load_segmenter(folder / "model", "cpu")
    card = read_toml(folder / "model" / "model.toml")["network"]
    assert card["architecture"] == model
    assert card["corners"] == (corners or "mask-only")
    tile = Tile(np.full((96, 96, 3), 90, np.uint8), np.ones((96, 96), bool), PixelBox(0, 0, 96, 96))
    (maps,) = segmenter([tile], 0.0)
    knows = card["corners"] not in ("mask-only",)
    assert maps.heatmaps.shape[1:] == ((8, 8) if knows or not len(maps.scores) else (0, 0))
    resumed = run("-o", folder, "--resume", "--steps", 4)
    assert "trained 4 steps" in resumed.stdout


def test_the_paper_s_preset_is_section_3_2_and_table_1(dataset, tmp_path):
    """Given options count more than the preset; what is left of it is in the run's settings."""
    folder = tmp_path / "run"
    small = ("--pyramid-channels", 16, "--roi-channels", 16, "--box-channels", 16)
    done = run(
        dataset, "-o", folder, "--preset", "paper", *TINY, *small, "--steps", 1,
        "--samples-per-epoch", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    settings = from_table(TrainConfig, read_toml(folder / "config.toml"))
    assert (settings.encoder, settings.cells, settings.batch_size) == (SMALLEST, 8, 1)
    assert (settings.optimiser, settings.lr, settings.weight_decay) == ("adam", 1e-4, 1e-7)
    assert settings.network.corners == "features-and-mask"
    whole = collect(TrainConfig, {}, None, PAPER)
    assert dataclasses.astuple(whole.feeding.augment) == dataclasses.astuple(NO_AUGMENT)
    spec = whole.network
    assert (spec.architecture, spec.encoder) == ("mask-rcnn-keypoint", "resnet101")
    assert spec.anchor_sizes == (32, 64, 128, 256, 512)
    assert spec.anchor_strides == (8, 16, 32, 64, 128)
    assert spec.anchor_ratios == (0.5, 1.0, 2.0)
    assert (spec.overlap, spec.proposal_overlap) == (0.5, 0.5)
    assert spec.proposals == 256
    assert (spec.roi_cells, spec.roi_scale, whole.codec.cells) == (28, 1, 28)
    assert (whole.mask_weight, whole.polygon_weight, whole.batch_size) == (0.2, 1.0, 2)
    defaults = inspect.signature(focal_loss).parameters
    assert (defaults["alpha"].default, defaults["beta"].default) == (2, 4)


def test_adapting_goes_on_from_the_shipped_model_and_keeps_its_norms(dataset, tmp_path):
    folder = tmp_path / "run"
    small = ("--size", 96, "--batch-size", 1, "--workers", 0, "--device", "cpu", "--no-graphs")
    done = run(
        dataset, "-o", folder, "--preset", "adapt", *small, "--steps", 1, "--samples-per-epoch", 1
    )
    assert done.exit_code == 0, done.output
    card = read_card(folder / "model")
    assert card.provenance["init"] == f"drone-lite2 version {read_card(find_model()).version}"
    before, after = (
        load_file(place / "model.safetensors") for place in (find_model(), folder / "model")
    )
    assert before.keys() == after.keys()
    norms = [key for key in before if key.endswith(("running_mean", "running_var"))]
    assert norms
    assert all(torch.equal(before[key], after[key]) for key in norms)
    assert not all(torch.equal(before[key], after[key]) for key in before)
    settings = from_table(TrainConfig, read_toml(folder / "config.toml"))
    assert (settings.lr, settings.mask_weight, settings.size) == (ADAPT["lr"], 0.6, 96)


def test_adapting_keeps_the_make_of_the_shipped_model():
    """Its tiles, too: what is adapted draws as large ones as before."""
    card = read_card(find_model())
    settings = collect(TrainConfig, {}, None, ADAPT)
    assert (settings.network, settings.codec) == (card.network, card.codec)
    assert settings.size == card.size


def test_a_preset_stands_under_a_file_and_a_file_under_options(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("lr = 0.002\nbatch_size = 3\n")
    settings = collect(TrainConfig, {"batch_size": 5}, file, PAPER)
    assert (settings.optimiser, settings.lr, settings.batch_size) == ("adam", 0.002, 5)


def test_every_key_of_a_preset_is_a_setting():
    for preset in PRESETS.values():
        assert set(preset) <= {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.slow
def test_two_processes_train_one_model_and_one_of_them_speaks(dataset, tmp_path):
    command = [
        sys.executable, "-m", "buildex.cli.main", "train", dataset, "-o", tmp_path / "run", *TINY,
        "--devices", "2", "--steps", "2", "--samples-per-epoch", "4", "--json",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert done.stderr.count("step 2: loss") == 1
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
