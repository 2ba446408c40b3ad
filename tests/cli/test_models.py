from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from buildex.card import ModelCard
from buildex.cli.main import main
from buildex.geo.keypoints import RoiCodec
from buildex.nn.network import new_network
from buildex.nn.weights import save_model
from tests.nn.made import SMALLEST, SYSTEMS, tiny_spec


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def run(*arguments):
    return CliRunner().invoke(main, ["models", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A shelf with one small U-Net on it."""
    spec = tiny_spec(architecture="unet")
    card = ModelCard(
        name="small", version="7", gsd=0.2, size=96, network=spec, codec=RoiCodec(cells=16)
    )
    save_model(new_network(spec), card, tmp_path / "small")
    monkeypatch.setenv("BUILDEX_MODELS", str(tmp_path))
    return tmp_path / "small"


def test_the_list_has_released_models_and_all_systems(folder):
    done = run()
    assert done.exit_code == 0
    assert "small 7: unet on test_efficientnet, tiles of 96 pixels of 0.2 m" in done.stdout
    assert "drone-lite2" in done.stdout
    assert all(f"\n  {name} " in done.stdout for name in SYSTEMS)
    table = json.loads(run("--json").stdout)
    assert table["systems"] == list(SYSTEMS)
    assert {"small", "drone-lite2"} <= {model["name"] for model in table["models"]}


@pytest.mark.parametrize("how", ["name", "folder"])
def test_a_model_tells_what_it_is_and_costs(folder, how):
    done = run("info", "small" if how == "name" else folder, "--repeat", 1, "--device", "cpu")
    assert done.exit_code == 0, done.output
    for said in ("small 7: unet", "parameters", "multiply-adds", "96 x 96", "seconds", "cpu"):
        assert said in done.stdout
    told = run("info", "small", "--repeat", 1, "--device", "cpu", "--json")
    table = json.loads(told.stdout)
    assert table["parameters"] == sum(
        p.numel() for p in new_network(tiny_spec(architecture="unet")).parameters()
    )
    assert table["network"]["architecture"] == "unet"


def test_a_system_that_is_not_trained_tells_what_it_would_cost():
    done = run("info", "mask-rcnn", "--encoder", SMALLEST, "--repeat", 1, "--json")
    table = json.loads(done.stdout)
    assert (table["trained"], table["size"], table["network"]["encoder"]) == (False, 512, SMALLEST)
    assert table["multiply_adds"] > 1e9


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-model"], "unknown model `no-such-model`"),
        (["small", "--encoder", "resnet50"], "has its encoder"),
        (["unet", "--encoder", "resnet_of_mine"], "no encoder `resnet_of_mine`"),
    ],
)
def test_what_cannot_be_told_is_one_line(folder, arguments, says):
    done = run("info", *arguments)
    assert done.exit_code == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
