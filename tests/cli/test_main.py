from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import buildex
from buildex.cli.console import word
from buildex.cli.main import COMMANDS, main
from buildex.errors import BuildexError


def run(*args):
    return CliRunner().invoke(main, list(args))


def test_help_lists_every_command():
    answer = run("--help")
    assert answer.exit_code == 0
    for name, (_, line) in COMMANDS.items():
        assert name in answer.output
        assert line.split()[0] in answer.output


def test_help_needs_neither_torch_nor_rasterio():
    code = (
        "import sys; from buildex.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'rasterio', 'numpy', 'geopandas'} & set(sys.modules)\n"
        "sys.exit(1 if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_the_version_is_the_package_s():
    assert buildex.__version__ in run("--version").output


def test_an_unknown_command_is_wrong_usage():
    assert run("paint").exit_code == 2


def test_an_error_of_ours_is_one_line_and_exit_code_1(monkeypatch):
    @click.command("fails")
    def fails():
        raise BuildexError("the disk is\nfull", hint="make room")

    monkeypatch.setattr("buildex.cli.main.LazyGroup.get_command", lambda *_: fails)
    answer = run("fails")
    assert answer.exit_code == 1
    assert answer.stderr == "buildex: the disk is full; make room\n"
    assert answer.stdout == ""


def test_a_bug_keeps_its_traceback(monkeypatch):
    @click.command("breaks")
    def breaks():
        raise ZeroDivisionError

    monkeypatch.setattr("buildex.cli.main.LazyGroup.get_command", lambda *_: breaks)
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(main, ["breaks"], catch_exceptions=False)


def test_an_error_without_a_hint_ends_with_the_message():
    assert word(BuildexError("no file")) == "buildex: no file"
