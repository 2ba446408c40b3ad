"""STAC catalogues of the Open Cities kind: scenes with their image and their labels.

A catalogue is a folder of JSON files that link to one another: catalogues and collections
link to children and items. An image item has a GeoTIFF asset; the labels of the item `X`
are those of a label item that names `X` as its source, or that is called `X-labels`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from buildex.errors import VectorError

CATALOG = "catalog.json"


class CatalogScene(NamedTuple):
    """An image of a catalogue and the labels drawn on it."""

    name: str
    mosaic: str
    labels: str


def read_catalog(path: str | Path) -> list[CatalogScene]:
    """The scenes of a catalogue that have labels, sorted by name.

    Args:
        path: the folder of `catalog.json`, or a catalogue, collection or item file.

    Raises:
        VectorError: if a linked file is missing or no image has labels.
    """
    start = Path(path)
    start = start / CATALOG if start.is_dir() else start
    items = {str(item["id"]): (place, item) for place, item in _items(start, set())}
    scenes = []
    for name, (place, item) in sorted(items.items()):
        image = _asset(item, place, (".tif", ".tiff", ".vrt"), "image/tiff")
        found = _labels(name, items)
        if image and found:
            scenes.append(CatalogScene(name, image, found))
    if not scenes:
        raise VectorError(
            f"`{start}` has no image with labels",
            hint="give a STAC catalogue with items `ID` and `ID-labels`",
        )
    return scenes


def _items(path: Path, seen: set[Path]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The items under a file, each with its place, by walking the links."""
    path = path.resolve()
    if path in seen:
        return
    seen.add(path)
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VectorError(
            f"`{path}` cannot be read as STAC: {error}", hint="check the catalogue's links"
        ) from None
    if node.get("type") == "Feature":
        yield path, node
        return
    for link in node.get("links", ()):
        if link.get("rel") in ("child", "item"):
            yield from _items(path.parent / str(link["href"]), seen)


def _labels(name: str, items: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> str | None:
    """The GeoJSON asset of the label item that belongs to an image item."""
    for other, (place, item) in sorted(items.items()):
        sources = [
            Path(str(link["href"])).stem
            for link in item.get("links", ())
            if link.get("rel") == "source"
        ]
        if other == f"{name}-labels" or name in sources:
            found = _asset(item, place, (".geojson", ".gpkg"), "application/geo+json")
            if found:
                return found
    return None


def _asset(
    item: Mapping[str, Any], place: Path, suffixes: tuple[str, ...], media: str
) -> str | None:
    """The first asset of a kind: a path beside the item's file, or a URL."""
    for _, asset in sorted(item.get("assets", {}).items()):
        href = str(asset.get("href", ""))
        if href.lower().endswith(suffixes) or str(asset.get("type", "")).startswith(media):
            return href if "://" in href else str(place.parent / href)
    return None
