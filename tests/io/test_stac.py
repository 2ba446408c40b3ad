import json

import pytest

from buildex.errors import VectorError
from buildex.io.stac import read_catalog
from tests.io.made import write_scene


def write(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"stac_version": "1.0.0", **table}))


def catalogue(root, *, item: str = "abc", label_id: str | None = None, source: bool = False):
    """A catalogue of one collection with an image item, its labels, and one without labels."""
    label_id = label_id or f"{item}-labels"
    write(
        root / "catalog.json",
        {
            "type": "Catalog",
            "id": "cities",
            "links": [
                {"rel": "self", "href": "./catalog.json"},
                {"rel": "child", "href": "./acc/collection.json"},
            ],
        },
    )
    links = [
        {"rel": "root", "href": "../catalog.json"},
        {"rel": "parent", "href": "../catalog.json"},
        *({"rel": "item", "href": f"./{i}/{i}.json"} for i in (item, label_id, "bare")),
    ]
    write(root / "acc" / "collection.json", {"type": "Collection", "id": "acc", "links": links})
    for name in (item, "bare"):
        asset = {"href": f"./{name}.tif", "type": "image/tiff; application=geotiff"}
        write(
            root / "acc" / name / f"{name}.json",
            {"type": "Feature", "id": name, "links": [], "assets": {"image": asset}},
        )
    write(
        root / "acc" / label_id / f"{label_id}.json",
        {
            "type": "Feature",
            "id": label_id,
            "links": [{"rel": "source", "href": f"../{item}/{item}.json"}] if source else [],
            "assets": {"labels": {"href": f"./{item}.geojson", "type": "application/geo+json"}},
        },
    )
    return root


@pytest.mark.parametrize(("label_id", "source"), [(None, False), ("drawn", True)])
def test_images_are_found_with_their_labels(tmp_path, label_id, source):
    root = catalogue(tmp_path, label_id=label_id, source=source)
    (scene,) = read_catalog(root)
    assert scene.name == "abc"
    assert scene.mosaic == str(root / "acc" / "abc" / "abc.tif")
    assert scene.labels == str(root / "acc" / (label_id or "abc-labels") / "abc.geojson")


def test_a_collection_may_be_given_itself(tmp_path):
    root = catalogue(tmp_path)
    assert read_catalog(root / "acc" / "collection.json") == read_catalog(root)


def test_urls_are_left_as_they_are(tmp_path):
    root = catalogue(tmp_path)
    item = root / "acc" / "abc" / "abc.json"
    item.write_text(item.read_text().replace("./abc.tif", "https://example.org/abc.tif"))
    assert read_catalog(root)[0].mosaic == "https://example.org/abc.tif"


def test_a_broken_link_and_a_bare_catalogue_are_told(tmp_path):
    root = catalogue(tmp_path)
    (root / "acc" / "abc-labels" / "abc-labels.json").write_text(
        json.dumps({"type": "Feature", "id": "other", "links": [], "assets": {}})
    )
    with pytest.raises(VectorError, match="has no image with labels"):
        read_catalog(root)
    (root / "acc" / "bare" / "bare.json").unlink()
    with pytest.raises(VectorError, match=r"bare.json` cannot be read as STAC"):
        read_catalog(root)


def test_links_in_a_circle_end(tmp_path):
    root = catalogue(tmp_path)
    table = json.loads((root / "acc" / "collection.json").read_text())
    table["links"].append({"rel": "child", "href": "../catalog.json"})
    write(root / "acc" / "collection.json", table)
    assert len(read_catalog(root)) == 1


def test_a_catalogue_is_tiled(tmp_path):
    from buildex.io.vector import read_footprints, write_footprints
    from buildex.tiling import TileConfig, tile

    root = catalogue(tmp_path / "stac")
    mosaic = write_scene(tmp_path / "made")
    mosaic.rename(root / "acc" / "abc" / "abc.tif")
    houses, _ = read_footprints(tmp_path / "made" / "buildings.gpkg")
    write_footprints(root / "acc" / "abc-labels" / "abc.geojson", houses)
    report = tile((), None, tmp_path / "out", TileConfig(stac=root, size=128, workers=1))
    assert report.buildings == 5
