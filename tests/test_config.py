from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildex.config import from_table, read_toml, silent, to_toml
from buildex.errors import BuildexError, ConfigError

SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
TABLES = st.recursive(
    st.dictionaries(st.text(), VALUES, max_size=3),
    lambda inner: st.dictionaries(st.text(), VALUES | inner, max_size=3),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    size: int = 512
    gsd: float = 0.1
    name: str = "x"
    format: Literal["png", "jpg"] = "png"
    crs: str | None = None
    names: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    out: Path = Path("out")


def test_a_table_fills_the_settings_and_the_rest_keeps_its_default():
    settings = from_table(Settings, {"size": 256, "gsd": 1, "names": ["a", "b"]})
    assert settings == Settings(size=256, gsd=1.0, names=("a", "b"))
    assert isinstance(settings.gsd, float)


def test_keys_may_have_dashes():
    @dataclass(frozen=True)
    class Dashed:
        min_kept: float = 0.0

    assert from_table(Dashed, {"min-kept": 0.5}).min_kept == 0.5


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"sise": 3}, "unknown key `sise`"),
        ({"size": "big"}, "`size`"),
        ({"size": True}, "`size`"),
        ({"format": "gif"}, "`format`"),
        ({"names": "a"}, "`names`"),
        ({"weights": 3}, "`weights`"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_key(table, says):
    with pytest.raises(ConfigError) as caught:
        from_table(Settings, table)
    assert says in caught.value.message
    assert caught.value.hint


def test_a_missing_value_without_default_is_an_error():
    @dataclass(frozen=True)
    class Needy:
        must: int

    with pytest.raises(ConfigError, match="`must` is missing"):
        from_table(Needy, {})


def test_toml_goes_there_and_back(tmp_path):
    table = {
        "size": 3, "gsd": 0.25, "name": 'a "b" \\ c', "names": ["x", "y"],
        "yes": True, "weights": {"dhaka-*": 0.2, "plain": 1.0}, "none": None,
    }  # fmt: skip
    path = tmp_path / "a.toml"
    path.write_text(to_toml(table))
    del table["none"]
    assert read_toml(path) == table


@given(TABLES)
def test_every_table_is_read_as_it_was_written(table):
    assert tomllib.loads(to_toml(table)) == table


def test_numbers_of_numpy_are_numbers():
    table = {"share": np.float32(0.5), "count": np.int64(3), "yes": np.True_}
    table["shares"] = [np.float64(1.5), np.arange(2)]
    known = {"share": 0.5, "count": 3, "yes": True, "shares": [1.5, [0, 1]]}
    assert tomllib.loads(to_toml(table)) == known


@pytest.mark.parametrize("text", ["a = ", "[x"])
def test_broken_toml_is_named(tmp_path, text):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        read_toml(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        read_toml(tmp_path / "absent.toml")


def test_silent_progress_yields_everything():
    assert list(silent([1, 2, 3], total=3, label="x")) == [1, 2, 3]


def test_an_error_is_one_sentence_with_what_to_do():
    assert str(BuildexError("no file", hint="check the path")) == "no file; check the path"
    assert str(BuildexError("no file")) == "no file"
