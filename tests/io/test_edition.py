from __future__ import annotations

import shutil
from pathlib import Path

import buildex
from buildex.io.edition import _sources, edition


def test_a_clone_that_was_pulled_is_another_edition_of_one_version(tmp_path, monkeypatch):
    clone = tmp_path / "buildex"
    shutil.copytree(Path(buildex.__file__).parent, clone)
    monkeypatch.setattr(buildex, "__file__", str(clone / "__init__.py"))

    def now():
        _sources.cache_clear()
        return edition()

    first = now()
    assert first.startswith(f"{buildex.__version__}+")
    source = (clone / "errors.py").read_text(encoding="utf-8")
    (clone / "errors.py").write_text(source, encoding="utf-8", newline="\r\n")
    (clone / "._errors.py").write_bytes(b"\x00\x05\x16\x07\xff")  # as macOS leaves on other drives
    (clone / ".#errors.py").symlink_to("nobody@nowhere.1")  # as Emacs does
    (clone / "notes.txt").touch()
    assert now() == first
    (clone / "errors.py").write_text(f"{source}# mended\n", encoding="utf-8")
    assert now() != first
    _sources.cache_clear()
