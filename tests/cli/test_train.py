from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from buildex.cli.main import main
from buildex.config import read_toml
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
    for option in ("--encoder", "--resume", "--patience", "--scene-weights", "--devices"):
        assert option in text
    assert "Example: buildex train" in text


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
