"""The benchmark that leaves towns out, without training anything."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from buildex.card import CARD, ModelCard, NetworkSpec, card_text
from buildex.config import read_toml
from buildex.errors import ConfigError, DatasetError, ModelError
from buildex.geo.keypoints import RoiCodec
from buildex.nn.settings import Feeding
from buildex.predicting import OpenModel
from tests.nn.made import write_dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("leave_one_town_out")


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("left_out_training")


@pytest.mark.parametrize("town", ["kampala", "catanduanes", "zanzibar", "banepa"])
def test_a_town_left_out_is_never_seen_and_the_others_keep_their_weights(training, town):
    weights = read_toml(BENCHMARKS / "drone_lite2.toml")["scene_weights"]
    usual = Feeding(size=96, samples=4, scene_weights=weights)
    without = Feeding(
        size=96, samples=4, scene_weights=training.weights_without(training.TOWNS[town], weights)
    )
    for name, scenes in training.TOWNS.items():
        for scene in scenes:
            assert without.weight(scene) == (0.0 if name == town else usual.weight(scene)), scene


def test_leaving_nothing_out_keeps_all_weights(training):
    weights = {"a": 2.0, "town-*": 0.5}
    assert training.weights_without(training.TOWNS.get(training.NONE, ()), weights) == weights


def test_the_mean_is_over_towns_and_leaves_out_what_is_not_known(bench):
    def figures(value):
        return dict.fromkeys(bench.FIGURES, value)

    rows = {"a": {"one": figures(0.2), "two": figures(0.4)}, "b": {"three": figures(0.9)}}
    rows["b"]["three"]["polis_m"] = None
    last = bench.table(rows).splitlines()[-1]
    assert last.split(" | ")[2:5] == ["0.600", "0.600", "0.600"]
    assert "0.300" in last  # PoLiS, of town a alone


def test_what_all_begin_with_has_seen_no_town(training):
    first = Feeding(size=96, samples=4, scene_weights=training.RENDERED)
    assert first.weight("town-1003") == 1.0
    assert not any(first.weight(scene) for scenes in training.TOWNS.values() for scene in scenes)
    assert first.weight("dhaka-0") == 0.0


def test_a_network_is_gone_on_with_from_the_one_that_left_out_the_same_town(
    training, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(training, "trained", lambda *given: asked.append(given) or tmp_path)
    parser = training.arguments(argparse.ArgumentParser())
    given = parser.parse_args(["new", "--datasets", "d", "--after", str(tmp_path / "old")])
    begun = training.begin(given)
    for town in ("kampala", "banepa"):
        training.run_of(town, begun, given)
    for town, (run, weights, _, first, _) in zip(("kampala", "banepa"), asked, strict=True):
        assert run == Path("new") / town / "run"
        assert first == {
            "pretrained": "none", "init": str(tmp_path / "old" / town / "run" / "model")
        }  # fmt: skip
        assert [weights[name] for name in training.TOWNS[town]] == [0] * len(training.TOWNS[town])


@pytest.mark.parametrize("more", [["--init", "m"], ["--first-steps", "3"], ["--after", "new"]])
def test_networks_of_another_work_are_the_only_beginning(training, more):
    parser = training.arguments(argparse.ArgumentParser())
    given = parser.parse_args(["new", "--datasets", "d", "--after", "old", *more])
    with pytest.raises(ConfigError, match="--after"):
        training.begin(given)


def test_what_was_drawn_otherwise_is_kept_apart(bench, tmp_path):
    def folder(threshold, views=None, tile_size=None):
        given = argparse.Namespace(
            work=tmp_path, threshold=threshold, views=views, tile_size=tile_size
        )
        return bench.drawn_in(given, "kampala")

    others = folder(0.45), folder(0.5, 2), folder(0.5, 1), folder(0.5, None, 512)
    assert len({folder(0.5), *others}) == 5
    assert folder(0.5) == tmp_path / "kampala" / "at-0.5"


def test_tiles_that_would_choose_the_weights_are_refused(training, tmp_path):
    both = write_dataset(tmp_path / "both", splits=("train", "val"))
    given = argparse.Namespace(datasets=[both])
    with pytest.raises(DatasetError, match="split `val`") as caught:
        training.trained(tmp_path / "run", {"scene": 0.0}, 1, {}, given)
    assert "--split train" in caught.value.hint
    assert not (tmp_path / "run").exists()
    training.check_nothing_chooses([write_dataset(tmp_path / "one", splits=("train",))])


@pytest.mark.parametrize("validation", [{}, {"iou": 0.8}])
def test_a_finished_run_is_kept_unless_something_chose_its_weights(training, tmp_path, validation):
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    card = ModelCard(
        name="town", version="1", gsd=0.1, size=96, network=NetworkSpec(), codec=RoiCodec(cells=16),
        validation=validation,
    )  # fmt: skip
    (model / CARD).write_text(card_text(card), encoding="utf-8")
    given = argparse.Namespace(datasets=[])
    if not validation:
        assert training.trained(tmp_path / "run", {}, 1, {}, given) == model
        return
    with pytest.raises(ModelError, match="a validation chose") as caught:
        training.trained(tmp_path / "run", {}, 1, {}, given)
    assert "remove it" in caught.value.hint


def test_figures_of_another_network_are_drawn_again(bench, tmp_path, monkeypatch):
    calls = []

    def drawn(town, _scenes, model, _folder, threshold):
        calls.append((town, model.digest, model.precision, threshold))
        return {"kampala": {"f1_50": float(len(calls))}}

    monkeypatch.setattr(bench, "left_out", drawn)
    given = argparse.Namespace(work=tmp_path, threshold=0.5, views=None, tile_size=128)

    def f1(digest, precision):
        model = OpenModel(None, "m", "1", digest, precision=precision)
        return bench.figures_of("kampala", [], model, given)["kampala"]["f1_50"]

    assert [f1("a", "bf16"), f1("a", "bf16"), f1("b", "bf16"), f1("b", "fp32")] == [1, 1, 2, 3]
    assert calls[-1] == ("kampala", "b", "fp32", 0.5)


def test_figures_that_do_not_say_who_drew_them_are_drawn_again(bench, tmp_path, monkeypatch):
    given = argparse.Namespace(work=tmp_path, threshold=0.5, views=None, tile_size=128)
    old = bench.drawn_in(given, "kampala") / "figures.json"
    old.parent.mkdir(parents=True)
    old.write_text('{"kampala": {"f1_50": 0.1}}', encoding="utf-8")
    now = {"kampala": {"f1_50": 0.2}}
    monkeypatch.setattr(bench, "left_out", lambda *_: now)
    assert bench.figures_of("kampala", [], OpenModel(None, "m", "1", "a"), given) == now


def test_a_scene_is_drawn_again_by_another_u_net_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = importlib.import_module("against_unet")
    models = {name: OpenModel(None, "unet", "1", name) for name in ("a" * 64, "b" * 64)}
    monkeypatch.setattr(script, "open_model", models.get)
    drawn = []

    class Report:
        def text(self):
            return "drawn"

    def predict(_mosaic, layer, *_, **options):
        layer.touch()
        drawn.append(options["digest"])
        return Report()

    monkeypatch.setattr(script, "predict", predict)
    for name in ("a" * 64, "a" * 64, "b" * 64):
        script.drawn(tmp_path, tmp_path / "scene", name)
    assert drawn == [model.identity for model in models.values()]
