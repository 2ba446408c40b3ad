from __future__ import annotations

import re
from pathlib import Path

import pytest

from buildex.geo.figures import figures_for
from buildex.scoring.settings import ScoreConfig

METRICS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ScoreConfig(as_published=True).figure_names)
def test_every_figure_is_defined(name):
    assert f"`{name}`" in METRICS


def test_no_figure_is_defined_that_is_not_there():
    rows = re.findall(r"^\| (`[^|]+`) \|", METRICS, re.M)
    named = {name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)}
    assert named == set(ScoreConfig(as_published=True).figure_names)


def test_figures_have_names_of_their_own():
    names = [f.name for f in figures_for((0.5, 0.75), published=True)]
    assert len(names) == len(set(names))
