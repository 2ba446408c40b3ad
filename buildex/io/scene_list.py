"""A list of scenes to score together: CSV or TOML, paths relative to the file itself.

    scene,predictions,truth,aoi,mosaic
    harbour,out/harbour.gpkg,harbour/osm.geojson,harbour/aoi.geojson,harbour/mosaic.tif

or, in TOML, a table for each scene:

    [harbour]
    predictions = "out/harbour.gpkg"
    truth = "harbour/osm.geojson"
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields, replace
from pathlib import Path

from buildex.config import from_table, read_toml
from buildex.errors import ConfigError

NAME = "scene"


@dataclass(frozen=True, kw_only=True)
class SceneFiles:
    """The files of a scene.

    Attributes:
        predictions: vector file of predicted buildings, in any CRS.
        truth: vector file of true buildings, in any CRS.
        aoi: file with the area in which every true building is drawn.
        mosaic: the imagery, for pictures.
        compare: a second file of predictions, to compare with the first.
        name: what the scene is called.
    """

    predictions: Path
    truth: Path
    aoi: Path | None = None
    mosaic: Path | None = None
    compare: Path | None = None
    name: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are given."""
        every = (getattr(self, column) for column in _columns())
        return tuple(path for path in every if path is not None)


def read_scenes(path: Path) -> tuple[SceneFiles, ...]:
    """Read a list of scenes.

    Raises:
        ConfigError: if the file is missing, empty, or names what is unknown.
    """
    tables = _read_csv(path) if path.suffix.lower() == ".csv" else _read_toml(path)
    if not tables:
        raise ConfigError(f"`{path}` lists no scene", hint="give each scene a line or a table")
    scenes = [
        from_table(SceneFiles, table, f"scene `{name}` of `{path}`") for name, table in tables
    ]
    return tuple(
        _placed(replace(scene, name=name), path.parent)
        for scene, (name, _) in zip(scenes, tables, strict=True)
    )


def _read_csv(path: Path) -> list[tuple[str, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restkey="", skipinitialspace=True, strict=True))
    except FileNotFoundError:
        raise ConfigError(f"no file `{path}`", hint="check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"`{path}` is not CSV: {error}", hint="mend the file") from None
    if rows and NAME not in rows[0]:
        raise ConfigError(
            f"`{path}` has no column `{NAME}`",
            hint=f"its first line should be {NAME},{','.join(_columns())}",
        )
    for row in rows:
        if "" in row:
            raise ConfigError(
                f"scene `{row[NAME]}` of `{path}` has more cells than there are columns",
                hint="quote cells with commas",
            )
    tables = [(row[NAME] or "", {k: v for k, v in row.items() if v and k != NAME}) for row in rows]
    return _unique(tables, path)


def _read_toml(path: Path) -> list[tuple[str, dict[str, str]]]:
    tables = list(read_toml(path).items())
    for name, table in tables:
        if not isinstance(table, dict):
            raise ConfigError(
                f"`{name}` in `{path}` is no table", hint="give each scene a table: `[name]`"
            )
    return tables


def _unique(
    tables: list[tuple[str, dict[str, str]]], path: Path
) -> list[tuple[str, dict[str, str]]]:
    names = [name for name, _ in tables]
    for name in names:
        if not name or names.count(name) > 1:
            raise ConfigError(
                f"`{path}` lists {'a scene without a name' if not name else f'`{name}` twice'}",
                hint="give each scene a name of its own",
            )
    return tables


def _columns() -> list[str]:
    return [spec.name for spec in fields(SceneFiles) if spec.name != "name"]


def _placed(scene: SceneFiles, folder: Path) -> SceneFiles:
    """The scene with paths that start where the list lies."""
    found = {name: getattr(scene, name) for name in _columns()}
    return replace(scene, **{k: folder / v for k, v in found.items() if v is not None})
