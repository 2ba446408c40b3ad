"""The scripts of `benchmarks/` fit the code that they call: they load, and say how to call them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from buildex.config import from_table, read_toml
from buildex.training import TrainConfig

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
SETTINGS = sorted(path.name for path in BENCHMARKS.glob("*.toml") if path.stem != "failures")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_loads_and_says_how_it_is_called(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as left:
        importlib.import_module(name).main()
    assert left.value.code == 0
    assert f"{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_a_training_are_such(name):
    from_table(TrainConfig, read_toml(BENCHMARKS / name))
