"""A model is found wherever pip put it, and known by what it computes with."""

from __future__ import annotations

import pytest

from buildex.io import zoo


@pytest.mark.parametrize(
    ("packages", "data"),
    [
        ("env/lib/python3.11/site-packages", "env"),
        ("home/.local/lib/python3.11/site-packages", "home/.local"),  # pip install --user
        ("usr/local/lib/python3.11/dist-packages", "usr/local"),  # Debian
        ("AppData/Python/Python311/site-packages", "AppData/Python"),  # --user on Windows
        ("anywhere", "anywhere"),  # --target
    ],
)
def test_an_installed_model_is_found_by_its_name(tmp_path, monkeypatch, packages, data):
    monkeypatch.setattr(zoo, "__file__", str(tmp_path / packages / "buildex" / "io" / "zoo.py"))
    model = tmp_path / data / "share" / "buildex" / "models" / "mine"
    model.mkdir(parents=True)
    (model / zoo.CARD).touch()
    assert zoo.find_model("mine") == model
    assert zoo.model_names() == ["mine"]


def test_a_model_is_known_by_what_it_computes_with_and_by_nothing_else(tmp_path):
    for name in (zoo.CARD, "model.safetensors", "dense.onnx"):
        (tmp_path / name).write_text(name)
    known = zoo.digest(tmp_path)
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "README.md").write_text("a word more")
    assert zoo.digest(tmp_path) == known
    for name in (zoo.CARD, "model.safetensors", "dense.onnx"):
        (tmp_path / name).write_text("other")
        assert zoo.digest(tmp_path) != known
        (tmp_path / name).write_text(name)
