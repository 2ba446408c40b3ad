"""The `buildex` command. Commands are imported when they are called, so help is quick."""

from __future__ import annotations

import importlib
import sys

import click

import buildex
from buildex.cli.console import say, word
from buildex.errors import BuildexError

# Name to (module, one line); the module's `command` is imported when it is needed.
COMMANDS = {
    "demo": ("buildex.cli.demo", "Draw the buildings of a rendered town, start to finish."),
    "osm": ("buildex.cli.osm", "Fetch the buildings that OpenStreetMap has in a place."),
    "tile": ("buildex.cli.tile", "Cut mosaics and their labels into a training dataset."),
    "train": ("buildex.cli.train", "Train a model on datasets."),
    "export": ("buildex.cli.export", "Write a model as ONNX graphs, checked against torch."),
    "predict": ("buildex.cli.predict", "Draw the buildings of a mosaic."),
    "models": ("buildex.cli.models", "List models; say what one is made of and what it costs."),
    "score": ("buildex.cli.score", "Compare predicted buildings with true ones."),
}

FOR_TRAINING = ("torch", "torchvision", "timm", "lightning")  # what `buildex[train]` brings


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a project's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a BuildexError becomes one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except BuildexError as error:
            say(word(error))
            ctx.exit(1)
        except ModuleNotFoundError as error:
            if error.name not in FOR_TRAINING:
                raise
            say(f"buildex: this needs {error.name}; pip install 'buildex[train]'")
            ctx.exit(1)
        except KeyboardInterrupt:
            say("buildex: interrupted")
            ctx.exit(130)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(buildex.__version__, prog_name="buildex")
def main() -> None:
    """Building footprints from drone mosaics.

    Exit codes: 0 done; 1 could not do it; 2 wrong usage; 3 ran well and the answer is no;
    130 interrupted.
    """


if __name__ == "__main__":
    main(prog_name="buildex", args=sys.argv[1:])
