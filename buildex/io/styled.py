"""Several layers in one GeoPackage, each with the style in which QGIS shows it by itself.

QGIS looks for a table `layer_styles` beside the layers and applies what it finds there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
import pyogrio
import shapely

from buildex.errors import OutputError, VectorError
from buildex.geo.footprints import Footprints
from buildex.io import output

Colour = tuple[int, int, int]
TABLE = """CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT CURRENT_TIMESTAMP)"""
CONTENTS = (
    "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change)"
    " VALUES ('layer_styles', 'attributes', 'layer_styles', ?)"
)
STYLE = (
    "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,"
    " styleName, styleQML, styleSLD, useAsDefault, description, owner, update_time)"
    " VALUES ('', '', ?, 'geom', ?, ?, ?, 1, ?, '', ?)"
)
DATE = "1970-01-01T00:00:00.000Z"


class StyledLayer(NamedTuple):
    """A layer and how it looks.

    Attributes:
        name: of the layer.
        footprints: its polygons and columns.
        colour: of its outlines and, thinly, of what is inside them.
        dashed: whether its outlines are dashed.
        about: one line that says what it holds.
    """

    name: str
    footprints: Footprints
    colour: Colour
    dashed: bool
    about: str


def check_layers(path: Path, overwrite: bool = False) -> None:
    """Make sure, before the work, that `write_styled` will be able to write.

    Raises:
        VectorError: if the file is no GeoPackage.
        OutputError: if it exists already or its folder cannot be written.
    """
    if path.suffix.lower() != ".gpkg":
        raise VectorError(f"`{path.name}` is no GeoPackage", hint="use the extension .gpkg")
    output.check_named(path)
    output.check_file(path, overwrite)


def write_styled(path: Path, layers: Sequence[StyledLayer]) -> None:
    """Write layers, the first of which QGIS lists first, to a GeoPackage.

    Raises:
        OutputError: if it cannot be written.
    """
    with output.beside(path) as place:
        try:
            for layer in layers:
                _write(place, layer)
            _add_styles(place, layers)
        except (RuntimeError, sqlite3.Error) as error:
            raise OutputError(
                f"`{path.name}` cannot be written: {error}", hint="make room on the disk"
            ) from error


def _add_styles(place: Path, layers: Sequence[StyledLayer]) -> None:
    with closing(sqlite3.connect(place)) as file, file:
        file.execute(TABLE)
        file.execute(CONTENTS, (DATE,))
        for layer in layers:
            look = qml(layer.colour, layer.dashed), sld(layer)
            file.execute(STYLE, (layer.name, layer.name, *look, layer.about, DATE))


def _write(place: Path, layer: StyledLayer) -> None:
    columns = layer.footprints.columns
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": DATE})
    try:
        pyogrio.raw.write(
            str(place),
            geometry=shapely.to_wkb(layer.footprints.polygons),
            field_data=[np.asarray(values) for values in columns.values()],
            fields=list(columns),
            driver="GPKG",
            layer=layer.name,
            geometry_type="Polygon",
            crs=layer.footprints.crs,
            append=place.exists(),
            encoding="UTF-8",
        )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def qml(colour: Colour, dashed: bool) -> str:
    """A QGIS style: a coloured outline over a thin fill of the same colour."""
    r, g, b = colour
    options = {
        "color": f"{r},{g},{b},60",
        "outline_color": f"{r},{g},{b},255",
        "outline_style": "dash" if dashed else "solid",
        "outline_width": "0.5",
        "outline_width_unit": "MM",
        "style": "solid",
    }
    rows = "".join(
        f'<Option name={quoteattr(k)} value={quoteattr(v)} type="QString"/>'
        for k, v in options.items()
    )
    return (
        '<qgis version="3.28.0" styleCategories="Symbology">'
        '<renderer-v2 type="singleSymbol" symbollevels="0" enableorderby="0"><symbols>'
        '<symbol type="fill" name="0" alpha="1" clip_to_extent="1" force_rhr="0">'
        '<layer class="SimpleFill" enabled="1" locked="0" pass="0">'
        f'<Option type="Map">{rows}</Option></layer></symbol></symbols></renderer-v2></qgis>'
    )


def sld(layer: StyledLayer) -> str:
    """The same style as OGC SLD 1.1, which other programs read."""
    colour = "#{:02x}{:02x}{:02x}".format(*layer.colour)
    dash = '<se:SvgParameter name="stroke-dasharray">4 2</se:SvgParameter>' if layer.dashed else ""
    return (
        '<StyledLayerDescriptor xmlns="http://www.opengis.net/sld"'
        ' xmlns:se="http://www.opengis.net/se" version="1.1.0"><NamedLayer>'
        f"<se:Name>{layer.name}</se:Name><UserStyle><se:FeatureTypeStyle><se:Rule>"
        "<se:PolygonSymbolizer>"
        f'<se:Fill><se:SvgParameter name="fill">{colour}</se:SvgParameter>'
        '<se:SvgParameter name="fill-opacity">0.24</se:SvgParameter></se:Fill>'
        f'<se:Stroke><se:SvgParameter name="stroke">{colour}</se:SvgParameter>'
        f'<se:SvgParameter name="stroke-width">2</se:SvgParameter>{dash}</se:Stroke>'
        "</se:PolygonSymbolizer></se:Rule></se:FeatureTypeStyle></UserStyle></NamedLayer>"
        "</StyledLayerDescriptor>"
    )
