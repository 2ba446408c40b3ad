from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click
import pytest
from click.testing import CliRunner

from buildex.cli.options import collect, config_options
from buildex.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Settings:
    size: int = field(default=512, metadata={"help": "Side."})
    kind: Literal["a", "b"] = field(default="a", metadata={"help": "Kind."})
    names: tuple[str, ...] = field(default=(), metadata={"help": "Names."})
    turn: bool = field(default=True, metadata={"help": "Turn."})
    again: bool = field(default=False, metadata={"help": "Again."})
    frozen: bool = field(default=False, metadata={"help": "Frozen.", "undo": True})
    area: Path | None = field(default=None, metadata={"help": "Area."})
    weights: dict[str, float] = field(default_factory=dict, metadata={"help": "Weights."})
    hidden: int = field(default=1, metadata={"cli": False})

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size is {self.size}", hint="use 1 or more")


def given(*args, config=None):
    seen = []

    @click.command()
    @config_options(Settings)
    def command(**options):
        seen.append(collect(Settings, options, config))

    answer = CliRunner().invoke(command, list(args), catch_exceptions=False)
    return seen[0] if seen else answer


def test_without_options_the_defaults_hold():
    assert given() == Settings()


def test_options_fill_the_settings():
    options = ["--size", "256", "--kind", "b", "--names", "x", "--names", "y", "--no-turn"]
    options += ["--again", "--area", "a.gpkg", "--weights", "dhaka-*=0.2"]
    assert given(*options) == Settings(
        size=256, kind="b", names=("x", "y"), turn=False, again=True, area=Path("a.gpkg"),
        weights={"dhaka-*": 0.2},
    )  # fmt: skip


def test_an_option_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("size = 64\nkind = 'b'\n[weights]\nx = 1.0\n")
    settings = given("--size", "32", "--weights", "y=2", config=file)
    assert (settings.size, settings.kind) == (32, "b")
    assert list(settings.weights.items()) == [("y", 2.0), ("x", 1.0)]  # the first glob counts


def test_a_flag_that_a_file_turns_on_can_be_turned_off_where_its_field_says_so(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("frozen = true\n")
    assert given(config=file).frozen
    assert not given("--no-frozen", config=file).frozen


def test_a_table_that_is_none_in_the_file_is_told_before_it_is_joined(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("weights = 3\n")
    with pytest.raises(ConfigError, match="weights"):
        given("--weights", "y=2", config=file)


def test_an_unknown_key_of_the_file_is_an_error(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("sise = 64\n")
    with pytest.raises(ConfigError, match="unknown key `sise`"):
        given(config=file)


@pytest.mark.parametrize("options", [["--size", "x"], ["--kind", "c"], ["--weights", "x"]])
def test_wrong_values_are_wrong_usage(options):
    assert given(*options).exit_code == 2


def test_a_value_that_the_settings_refuse_is_wrong_usage_and_of_a_file_it_is_not(tmp_path):
    answer = given("--size", "0")
    assert answer.exit_code == 2
    assert answer.stderr.endswith("Error: size is 0; use 1 or more\n")
    file = tmp_path / "a.toml"
    file.write_text("size = 0\n")
    with pytest.raises(ConfigError, match="size is 0"):
        given(config=file)


@pytest.mark.parametrize("preset", [{"size": 0}, {"gone": 1}])
def test_nor_is_one_of_the_settings_of_a_run_that_goes_on(preset):
    with pytest.raises(ConfigError, match=r"size is 0|unknown key `gone` in the settings to go on"):
        collect(Settings, {"size": None}, preset=preset)
    if "size" in preset:
        assert collect(Settings, {"size": 3}, preset=preset).size == 3


def test_help_shows_text_and_default_and_hides_what_is_not_for_the_command_line():
    lines = given("--help").output.splitlines()
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("  -")}
    assert told["--size"] == "INTEGER Side. [default: 512]"
    assert told["--area"] == "PATH Area."
    assert told["--turn"] == "/ --no-turn Turn. [default: True]"
    assert not [name for name in told if "hidden" in name]
