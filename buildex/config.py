"""Settings as frozen values, and the way a tool reports its progress.

One frozen dataclass per tool. Help and default live in the field
(`field(default=512, metadata={"help": "..."})`); the command line makes its options
from them and a TOML table fills them, strictly: an unknown key is an error.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from buildex.errors import ConfigError

T = TypeVar("T")
C = TypeVar("C")
Note = Callable[[], str]


class Track(Protocol):
    """How a tool shows progress: wraps an iterable and yields its items unchanged."""

    def __call__(
        self,
        items: Iterable[T],
        *,
        total: int | None = None,
        label: str = "",
        note: Note | None = None,
    ) -> Iterator[T]:
        """Yield each of `items`; `total` is how many there are, where known.

        `note` says, whenever it is asked, what else there is to tell of the work.
        """
        ...


def silent(
    items: Iterable[T], *, total: int | None = None, label: str = "", note: Note | None = None
) -> Iterator[T]:
    """Progress that shows nothing: what the library uses unless it is given better."""
    yield from items


def from_table(cls: type[C], table: Mapping[str, Any], where: str = "configuration") -> C:
    """Build a settings dataclass from a TOML table, strictly.

    Args:
        cls: a dataclass whose fields are scalars, enumerated strings, optional values,
            tuples of one type, or string-keyed tables.
        table: the parsed table; keys may use `-` or `_`.
        where: what the table is called in an error.

    Raises:
        ConfigError: for an unknown key, a missing one, or a value of the wrong type.
    """
    hints = get_type_hints(cls)
    names = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in names:
            raise ConfigError(
                f"unknown key `{key}` in {where}",
                hint=f"known keys are {', '.join(sorted(names))}",
            )
        values[name] = coerce(value, hints[name], f"`{key}` in {where}")
    for name, spec in names.items():
        no_default = spec.default is dataclasses.MISSING
        if name not in values and no_default and spec.default_factory is dataclasses.MISSING:
            raise ConfigError(f"`{name}` is missing in {where}", hint="give it a value")
    return cls(**values)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigError: if the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no file `{path}`", hint="check the path") from None
    except OSError as error:
        raise ConfigError(
            f"`{path}` cannot be read: {error.strerror}", hint="give a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` is not TOML: {error}", hint="mend the file") from None


def to_toml(table: Mapping[str, Any]) -> str:
    """Write a table of scalars, lists of them and tables as TOML; `None` values are left out."""
    return "\n\n".join(_toml_blocks(table)) + "\n"


def coerce(value: Any, hint: Any, where: str) -> Any:
    """Check `value` against a type hint; integers pass as floats, lists as tuples.

    Raises:
        ConfigError: if the value is of another type or not one of the literals.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return coerce(value, next(a for a in args if a is not type(None)), where)
    if origin is Literal:
        if value not in args:
            allowed = ", ".join(f"`{a}`" for a in args)
            raise ConfigError(f"{where} is {value!r}", hint=f"use one of {allowed}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}", hint="use a list")
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(inner) != len(value):
            raise ConfigError(f"{where} has {len(value)} values", hint=f"use {len(inner)}")
        return tuple(coerce(v, t, where) for v, t in zip(value, inner, strict=True))
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}", hint="use a table")
        return {k: coerce(v, args[1] if args else Any, where) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}", hint=f"use a value of type {hint.__name__}")
    return value


def _toml_blocks(table: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """A table's own values under its name, then each table in it under its name in full."""
    held = {_toml_key(key): value for key, value in table.items() if value is not None}
    nested = {key: value for key, value in held.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_toml_value(v)}" for key, v in held.items() if key not in nested]
    if name or lines:
        yield "\n".join([f"[{name}]", *lines] if name else lines)
    for key, value in nested.items():
        yield from _toml_blocks(value, f"{name}.{key}" if name else key)


def _toml_key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isalnum() and bare.isascii() else _toml_value(key)


def _toml_value(value: Any) -> str:
    if hasattr(value, "tolist"):  # a number of numpy, or several: as Python has them
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    # JSON's escapes are TOML's, which forbids one character more.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
