"""The benchmark that fills docs/paper.md, without training anything."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

from buildex.card import PARTS
from buildex.errors import DatasetError
from buildex.nn.presets import PAPER
from buildex.nn.recipe import TrainConfig
from tests.nn.made import write_dataset

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "paper.md"


@pytest.fixture(scope="module")
def bench():
    path = ROOT / "benchmarks" / "paper_tables.py"
    spec = importlib.util.spec_from_file_location("paper_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(seed, iou, polis=0.5):
    figures = {
        "pixel_iou": iou, "pixel_f1": 2 * iou / (1 + iou), "ssim": 0.9, "f1_50": 0.8,
        "polis_m": polis, "vertex_ratio": 1.25,
    }  # fmt: skip
    return {
        "figures": {"contour": figures, "paper": {**figures, "f1_50": 0.5}}, "steps": 7,
        "seconds": 60.0, "parameters": 6_760_000, "seconds_per_tile": 0.25, "hardware": "cpu",
        "commit": "0123456789abcdef", "settings": {"seed": str(seed)},
    }  # fmt: skip


def test_every_system_is_trained_and_every_row_has_one(bench):
    trained = {(own["model"], own.get("corners")) for own in bench.SYSTEMS.values()}
    assert {model for model, _ in trained} == set(PARTS)
    rows = [row for rows in bench.TABLES.values() for row in rows]
    assert {system for _, system, _ in rows} == set(bench.SYSTEMS)
    for own in bench.SYSTEMS.values():
        TrainConfig(**own)


def test_every_effect_changes_a_setting_and_fits_our_own_system(bench):
    usual = TrainConfig()
    for name, table in bench.EFFECTS.items():
        changed = dataclasses.replace(usual, **table)
        assert changed != usual, name
        assert all(PAPER[key] == value for key, value in table.items())


def test_a_row_has_the_paper_s_figures_beside_ours_over_seeds(bench):
    found = {"mask-rcnn": [entry(1, 0.7), entry(2, 0.72)]}
    first, second, *_ = bench.table("table 2", found, "contour").splitlines()[2:]
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[:5] == ["Mask R-CNN", "61.4", "71.0 ± 1.4", "0.634", "0.830 ± 0.010"]
    assert cells[5:] == ["0.678", "0.900 ± 0.000", "0.800 ± 0.000", "0.50 ± 0.00",
                         "1.25 ± 0.00", "6.76 ± 0.00", "0.25 ± 0.00"]  # fmt: skip
    assert second.startswith("| U-Net | 61.9 | - | 0.641 | -")
    heads = bench.HEAD.splitlines()[0].strip("|").split("|")
    assert len(heads) == len(cells)


def test_what_could_not_be_measured_is_a_dash(bench):
    found = {"unet": [entry(1, 0.5, polis=None)]}
    row = bench.table("table 2", found, "contour").splitlines()[3]
    assert [cell.strip() for cell in row.strip("|").split("|")][8] == "-"


def test_an_effect_is_the_paper_s_way_less_ours(bench):
    found = {"fcos-keypoint": [entry(1, 0.7)], "effect-margin": [entry(1, 0.65, polis=None)]}
    assert bench.effect("margin", found, "contour") == (
        "IoU -0.050, F1 +0.000, PoLiS m -, vertices +0.00"
    )
    assert bench.effect("grouping", found, "contour").startswith("IoU +0.000, F1 -0.300")
    assert bench.effect("dice", found, "contour") is None


def test_the_document_has_a_place_for_everything_and_can_be_filled_again(bench, tmp_path):
    copy = tmp_path / "paper.md"
    copy.write_text(DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    names, places = [*bench.TABLES, "conditions"], [*bench.EFFECTS, "grouping"]
    for words in ("1st", "2nd"):
        blocks = {name: f"{words} {name}" for name in names}
        bench.fill(copy, blocks, {name: f"{words} effect {name}" for name in places})
    text = copy.read_text(encoding="utf-8")
    for name in names:
        assert text.count(f"2nd {name}") == 1
    for name in places:
        assert f"<!-- effect {name} -->2nd effect {name}<!-- end -->" in text
    assert "1st" not in text
    bench.fill(copy, {}, {"dice": None})
    assert copy.read_text(encoding="utf-8") == text
    with pytest.raises(SystemExit, match="no place"):
        bench.fill(copy, {"table 9": "x"}, {})


def test_figures_of_other_settings_are_not_mixed(bench, tmp_path):
    bench.check_settings(tmp_path / "work", {"steps": 3})
    bench.check_settings(tmp_path / "work", {"steps": 3})
    with pytest.raises(SystemExit, match="other settings"):
        bench.check_settings(tmp_path / "work", {"steps": 4})


def test_nothing_is_trained_where_no_dataset_has_a_validation_set(bench, tmp_path, monkeypatch):
    train, val = (write_dataset(tmp_path / name, splits=(name,)) for name in ("train", "val"))
    work = tmp_path / "work"
    given = [str(work), "--datasets", str(train), "--scene", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["paper_tables.py", *given])
    with pytest.raises(DatasetError, match="split `val`"):
        bench.main()
    assert not work.exists()
    bench.check_validation([train, val])
