"""The documents keep their word: every command has help, an example, and stands in the README."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import buildex
from buildex.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    context = click.Context(main)
    return {name: main.get_command(context, name) for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_help_for_each_option(name):
    command = commands()[name]
    assert command.help
    assert command.epilog
    assert f"buildex {name}" in command.epilog
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} --{parameter.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name):
    assert f"buildex {name}" in README


def fenced_lines():
    blocks = re.findall(r"```\w*\n(.*?)```", README, re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("buildex ")]


@pytest.mark.parametrize("line", fenced_lines())
def test_the_readme_s_commands_are_right_usage(line):
    name, *arguments = line.split()[1:]
    command = commands()[name]
    # Parses options and arguments as the command would, without running it.
    context = command.make_context(name, arguments, resilient_parsing=False)
    assert context.params


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_changelog_knows_this_version():
    assert f"## [{buildex.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_project_and_the_package_have_one_version():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{buildex.__version__}"' in text
