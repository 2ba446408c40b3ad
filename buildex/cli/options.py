"""Options made from a tool's settings: one dataclass field, one option.

The dataclass holds name, type, default and help; nothing is said twice. A field whose
metadata has `"cli": False` gets no option; `"flag": "-x"` adds a short name,
`"envvar": "NAME"` an environment variable, and `"undo": True` a `--no-NAME` to a flag that is
off by default, for files and presets that turn it on.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from buildex.config import from_table, read_toml
from buildex.errors import ConfigError

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


def config_options(cls: type[Any]) -> Callable[[F], F]:
    """Decorator: give a command an option for every field of a settings dataclass."""

    def decorate(command: F) -> F:
        hints = get_type_hints(cls)
        for spec in reversed(dataclasses.fields(cls)):
            if spec.metadata.get("cli", True):
                command = _option(spec, hints[spec.name])(command)
        return command

    return decorate


def collect(
    cls: type[C],
    kwargs: Mapping[str, Any],
    config_file: Path | None = None,
    preset: Mapping[str, Any] | None = None,
) -> C:
    """Settings from the options that were given, over a file's, over a preset's, over defaults.

    Args:
        cls: the settings dataclass.
        kwargs: what click passed for the options of `config_options`; None (or an empty
            tuple) means that the option was not given.
        config_file: a TOML file with some of the same keys.
        preset: some of the same keys, from another file or by name.

    Raises:
        ConfigError: for an unknown key or a wrong value of the file or the preset.
        click.UsageError: for a wrong value of an option, or options that do not go together.
    """
    names = {spec.name for spec in dataclasses.fields(cls)}  # type: ignore[arg-type]
    table: dict[str, Any] = {}
    if config_file is not None:
        for key, value in read_toml(config_file).items():
            table[key.replace("-", "_")] = value
    where = f"`{config_file}`" if config_file is not None else "the options"
    from_table(cls, table, where=where)
    base = {**(preset or {}), **table}
    given = {k: v for k, v in kwargs.items() if k in names and v is not None and v != ()}
    for name, hint in get_type_hints(cls).items():
        if name in given and _kind(hint)[0] is dict:
            here = dict(given[name])  # first: of globs the first that fits counts
            given[name] = here | {k: v for k, v in base.get(name, {}).items() if k not in here}
    try:
        return from_table(cls, {**base, **given}, where=where)
    except ConfigError as error:
        from_table(cls, base, where="the settings to go on with")  # where these are at fault
        raise click.UsageError(str(error)) from None


def _option(spec: dataclasses.Field[Any], hint: Any) -> Callable[[F], F]:
    kind, many = _kind(hint)
    name = spec.name.replace("_", "-")
    help_text = str(spec.metadata.get("help", ""))
    shown = _shown_default(spec)
    if shown:
        help_text = f"{help_text}  [default: {shown}]"
    names = [f"--{name}"]
    if "flag" in spec.metadata:
        names.append(spec.metadata["flag"])
    if kind is bool:
        both = spec.default is True or spec.metadata.get("undo", False)
        names = [f"--{name}/--no-{name}"] if both else names
        return click.option(*names, spec.name, is_flag=True, default=None, help=help_text)
    return click.option(
        *names,
        spec.name,
        type=_click_type(kind),
        multiple=many,
        default=None,
        help=help_text,
        metavar=spec.metadata.get("metavar"),
        envvar=spec.metadata.get("envvar"),
    )


def _kind(hint: Any) -> tuple[Any, bool]:
    """The scalar type behind a hint, and whether the option may be given many times."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _kind(next(a for a in args if a is not type(None)))
    if origin is tuple:
        return args[0], True
    if origin is dict or hint is dict:
        return dict, True
    return hint, False


def _click_type(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice([str(a) for a in get_args(kind)])
    if kind is dict:
        return _Pair()
    if kind is Path:
        return click.Path(path_type=Path)
    return kind


class _Pair(click.ParamType):  # type: ignore[type-arg]
    """NAME=NUMBER, for settings that are tables."""

    name = "name=number"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        """Split at the last equals sign."""
        key, _, number = str(value).rpartition("=")
        try:
            return key, float(number)
        except ValueError:
            self.fail(f"{value!r} is not NAME=NUMBER", param, ctx)


def _shown_default(spec: dataclasses.Field[Any]) -> str:
    default = spec.default
    if default is dataclasses.MISSING or default is None or default == () or default is False:
        return ""
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
