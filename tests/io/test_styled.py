from __future__ import annotations

import sqlite3
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import shapely

from buildex.errors import OutputError, VectorError
from buildex.geo.footprints import Footprints
from buildex.io.styled import StyledLayer, check_layers, write_styled

UTM = "EPSG:32737"


def layer(name: str, count: int) -> StyledLayer:
    x = np.arange(count) * 20.0 + 500_000
    polygons = shapely.box(x, 9_300_000, x + 10, 9_300_010)
    columns = {"scene": np.full(count, "town", dtype=object), "iou": np.linspace(0, 1, count)}
    footprints = Footprints(np.asarray(polygons, dtype=object), UTM, columns)
    return StyledLayer(name, footprints, (215, 48, 39), name == "missed", f"what was {name}")


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "errors.gpkg"
    write_styled(path, [layer("false", 3), layer("missed", 0), layer("matched", 2)])
    return path


def test_layers_keep_their_order_columns_and_system(written):
    names = [str(name) for name, _ in pyogrio.list_layers(written)]
    assert names[:3] == ["false", "missed", "matched"]
    info = pyogrio.read_info(written, layer="false")
    assert info["features"] == 3
    assert info["crs"] == UTM
    assert list(info["fields"]) == ["scene", "iou"]
    assert pyogrio.read_info(written, layer="missed")["features"] == 0


def test_every_layer_has_a_default_style_where_qgis_looks_for_it(written):
    with sqlite3.connect(written) as file:
        rows = file.execute(
            "SELECT f_table_name, f_geometry_column, styleQML, styleSLD, useAsDefault"
            " FROM layer_styles ORDER BY id"
        ).fetchall()
        (kind,) = file.execute(
            "SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'"
        ).fetchone()
        geometry = dict(
            file.execute("SELECT table_name, column_name FROM gpkg_geometry_columns").fetchall()
        )
    assert kind == "attributes"
    assert [row[0] for row in rows] == ["false", "missed", "matched"]
    for name, column, qml, sld, default in rows:
        assert column == geometry[name]
        assert default == 1
        renderer = ElementTree.fromstring(qml).find("renderer-v2")
        assert renderer is not None
        options = {o.get("name"): o.get("value") for o in renderer.iter("Option") if o.get("name")}
        assert options["outline_color"].startswith("215,48,39")
        assert options["outline_style"] == ("dash" if name == "missed" else "solid")
        assert "#d73027" in sld
        ElementTree.fromstring(sld)


def test_the_same_layers_are_the_same_bytes(written, tmp_path):
    again = tmp_path / "again.gpkg"
    write_styled(again, [layer("false", 3), layer("missed", 0), layer("matched", 2)])
    assert again.read_bytes() == written.read_bytes()


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("pyogrio.raw.write", pyogrio.errors.DataSourceError("disk is full")),
        ("buildex.io.styled.sqlite3.connect", sqlite3.OperationalError("disk is full")),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, where, error):
    def full(*_args, **_options):
        raise error

    monkeypatch.setattr(where, full)
    with pytest.raises(OutputError, match=r"`errors.gpkg` cannot be written: disk is full; make"):
        write_styled(tmp_path / "errors.gpkg", [layer("false", 3)])
    assert list(tmp_path.iterdir()) == []


def test_only_a_geopackage_that_is_not_there_yet_can_be_written(written, tmp_path):
    with pytest.raises(VectorError, match="no GeoPackage"):
        check_layers(tmp_path / "errors.shp")
    with pytest.raises(OutputError, match="exists"):
        check_layers(written)
    check_layers(written, overwrite=True)
