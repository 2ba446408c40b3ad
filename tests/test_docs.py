"""The documents keep their word: every command has help, an example, and stands in the README."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import product
from pathlib import Path

import click
import pytest

import buildex
from buildex.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "DESIGN.md")]
GUIDES += sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("models/*/README.md")])
RECORDS = [ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/decisions/*.md"))]  # as it was then
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.S | re.M)


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


def commands_in(path):
    """The lines of a document's blocks that call buildex, each as its words."""
    blocks = "\n".join(FENCED.findall(path.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = [line for line in blocks.splitlines() if re.match(r"([A-Z_]+=\S+ )*buildex ", line)]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index("buildex") + 1 :] for line in words]


def mentions_in(path):
    """What a document calls buildex in the middle of its text: often not all of a command."""
    prose = FENCED.sub("", path.read_text(encoding="utf-8"))
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    calls = [shlex.split(span)[1:] for span in spans if span.startswith("buildex ")]
    return [list(one) for words in calls for one in product(*(word.split("|") for word in words))]


def called(words):
    """The command that words name, as click does, and the words after its name."""
    command, context = main, click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        assert inner is not None, f"no command `{words[0]}`"
        command, words = inner, words[1:]
        context = click.Context(command, context)
    return command, words


def listed(found):
    pairs = [(path, words) for path in GUIDES for words in found(path)]
    return [
        pytest.param(words, id=f"{path.relative_to(ROOT)}: {' '.join(words)}")
        for path, words in pairs
    ]


@pytest.mark.parametrize("words", listed(commands_in))
def test_commands_of_the_documents_are_right_usage(words):
    command, arguments = called(words)
    # Parses options and arguments as the command would, without running it.
    context = command.make_context(command.name, arguments, resilient_parsing=False)
    assert context.params


@pytest.mark.parametrize("words", listed(mentions_in))
def test_commands_that_are_mentioned_exist_and_have_the_options(words):
    if words[0] == "COMMAND":
        words = words[1:]
    command, arguments = called([word for word in words if word != "..."])
    if arguments and arguments[-1].startswith("--"):
        arguments = [*arguments, "VALUE", "VALUE"]
    context = click.Context(command)
    given, _, _ = command.make_parser(context).parse_args(arguments)
    options = {p.name: p for p in command.get_params(context) if isinstance(p, click.Option)}
    for name in given.keys() & options.keys():
        if not re.search(r"\b[A-Z]+\b", str(given[name])):  # that stands for a value
            options[name].type_cast_value(context, given[name])


def test_the_documents_call_buildex():
    assert len(listed(commands_in)) > 20
    assert len(listed(mentions_in)) > 30


def anchors(path):
    """What GitHub calls the headings of a document."""
    heads = re.findall(r"(?m)^#+ +(.+?) *$", FENCED.sub("", path.read_text(encoding="utf-8")))
    heads = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads]
    names = [re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in heads]
    return {f"{name}-{k}" if (k := names[:i].count(name)) else name for i, name in enumerate(names)}


def test_anchors_are_what_github_makes_of_headings(tmp_path):
    document = tmp_path / "x.md"
    document.write_text("# A `b`, c's\n```\n# none\n```\n## [D](e.md) - 2.5 m\n## A b cs\n")
    assert anchors(document) == {"a-b-cs", "d---25-m", "a-b-cs-1"}


@pytest.mark.parametrize("path", GUIDES + RECORDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path):
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    for file, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", text):
        target = path.parent / file if file else path
        assert target.exists(), f"{path.name}: {file}"
        assert not anchor or anchor in anchors(target), f"{path.name}: {file}#{anchor}"


def test_the_changelog_knows_this_version():
    assert f"## [{buildex.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_project_and_the_package_have_one_version():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{buildex.__version__}"' in text


def test_the_project_asks_for_a_setuptools_that_knows_its_licence():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert about["project"]["license"] == "Apache-2.0"  # a name, as since PEP 639
    (needed,) = about["build-system"]["requires"]
    assert int(needed.removeprefix("setuptools>=")) >= 77
