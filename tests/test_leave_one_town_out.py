"""The benchmark that leaves towns out, without training anything."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from buildex.config import read_toml
from buildex.nn.settings import Feeding

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    path = BENCHMARKS / "leave_one_town_out.py"
    spec = importlib.util.spec_from_file_location("leave_one_town_out", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("town", ["kampala", "catanduanes", "zanzibar", "banepa"])
def test_a_town_left_out_is_never_seen_and_the_others_keep_their_weights(bench, town):
    weights = read_toml(BENCHMARKS / "drone_lite2.toml")["scene_weights"]
    usual = Feeding(size=96, samples=4, scene_weights=weights)
    without = Feeding(
        size=96, samples=4, scene_weights=bench.weights_without(bench.TOWNS[town], weights)
    )
    for name, scenes in bench.TOWNS.items():
        for scene in scenes:
            assert without.weight(scene) == (0.0 if name == town else usual.weight(scene)), scene


def test_the_mean_is_over_towns_and_leaves_out_what_is_not_known(bench):
    def figures(value):
        return dict.fromkeys(bench.FIGURES, value)

    rows = {"a": {"one": figures(0.2), "two": figures(0.4)}, "b": {"three": figures(0.9)}}
    rows["b"]["three"]["polis_m"] = None
    last = bench.table(rows).splitlines()[-1]
    assert last.split(" | ")[2:5] == ["0.600", "0.600", "0.600"]
    assert "0.300" in last  # PoLiS, of town a alone


def test_what_all_begin_with_has_seen_no_town(bench):
    first = Feeding(size=96, samples=4, scene_weights=bench.RENDERED)
    assert first.weight("town-1003") == 1.0
    assert not any(first.weight(scene) for scenes in bench.TOWNS.values() for scene in scenes)
    assert first.weight("dhaka-0") == 0.0
