"""The benchmark that takes the mean of two networks."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from buildex.card import ModelCard
from buildex.errors import ModelError, OutputError
from buildex.geo.keypoints import RoiCodec
from buildex.nn.network import new_network
from buildex.nn.weights import load_model, save_model
from tests.nn.made import tiny_spec

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("mean_of_weights")


def model(folder, seed, version, **changes):
    """A network of chance and its folder."""
    torch.manual_seed(seed)
    spec = replace(tiny_spec(), **changes)
    card = ModelCard(
        name="some", version=version, gsd=0.1, size=96, network=spec, codec=RoiCodec(cells=16),
        provenance={"seed": seed}, score=0.7, calibration=(2.0, 0.1), validation={"iou": 0.5},
    )  # fmt: skip
    save_model(new_network(spec), card, folder)
    return folder


def test_it_lies_between_and_says_of_what_it_is(bench, tmp_path, monkeypatch):
    before, after = model(tmp_path / "a", 1, "1"), model(tmp_path / "b", 2, "2")
    out = tmp_path / "out"
    monkeypatch.setattr(
        "sys.argv", ["mean", str(before), str(after), str(out), "--share", "0.25", "--version", "3"]
    )
    bench.main()
    found, card = load_model(out)
    one, other = load_model(before)[0].state_dict(), load_model(after)[0].state_dict()
    moved = 0
    for name, value in found.state_dict().items():
        if value.is_floating_point():
            between = 0.25 * one[name] + 0.75 * other[name]
            assert torch.allclose(value, between, atol=2e-3), name
            moved += bool((value - other[name]).abs().max() > 0.01)
    assert moved > 10
    assert (card.name, card.version) == ("some", "3")
    assert card.provenance == {"seed": 2, "mean_of": "0.25 of some version 1"}
    assert (card.score, card.calibration, card.validation) == (0.5, (1.0, 0.0), {})
    with pytest.raises(OutputError, match="model already"):
        bench.main()


def test_networks_of_two_makes_have_no_mean(bench, tmp_path):
    before = model(tmp_path / "a", 1, "1")
    after = model(tmp_path / "b", 2, "2", corners="features")
    with pytest.raises(ModelError, match="two makes"):
        bench.between(before, after, 0.5)
