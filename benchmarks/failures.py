"""One sheet of places where the released model errs, for its card.

    buildex predict ../shared/data/val/zanzibar-val/mosaic.tif -o LAYERS/zanzibar-val.gpkg
    (and so each scene that `failures.toml` names)
    python benchmarks/failures.py LAYERS models/drone-lite2/failures.jpg --data ../shared/data

The places stand in `failures.toml`: scene, centre, side, and what is to be seen there. LAYERS holds
what was drawn of each scene that it names. Pink is what was drawn, blue what labels say.
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from buildex.config import from_table, read_toml
from buildex.geo.boxes import PixelBox
from buildex.io.crs import WGS84, reprojected
from buildex.io.preview import PREDICTED, TRUE, outlined
from buildex.io.raster import Mosaic
from buildex.io.vector import read_footprints

CELL, GAP = 330, 8  # pixels: a picture, and what lies between two
LINES, LINE = 3, 13  # of a caption, and pixels of a line
COLUMNS, LETTERS = 3, 52
QUALITY = 80  # of the JPEG


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place to be looked at.

    Attributes:
        scene: folder of the mosaic, and of labels if there are any, under the data.
        lon: of its centre, in degrees.
        lat: of its centre, in degrees.
        side: metres.
        caption: what is wrong there.
    """

    scene: str
    lon: float
    lat: float
    side: float
    caption: str


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description="Draw places where the model errs.")
    parser.add_argument("layers", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--places", type=Path, default=Path(__file__).with_suffix(".toml"))
    given = parser.parse_args()
    table = read_toml(given.places)
    places = [from_table(Place, one, f"`{given.places}`") for one in table["place"]]
    sheet(places, given.data, given.layers).save(given.out, quality=QUALITY)


def sheet(places: list[Place], data: Path, layers: Path) -> Image.Image:
    """All places, row by row, each with its caption under it."""
    wide, high = CELL + GAP, CELL + LINES * LINE + GAP
    rows = -(-len(places) // COLUMNS)
    out = Image.new("RGB", (COLUMNS * wide - GAP, rows * high - GAP), "white")
    draw = ImageDraw.Draw(out)
    for k, place in enumerate(places):
        x, y = k % COLUMNS * wide, k // COLUMNS * high
        out.paste(picture(place, data, layers), (x, y))
        text = "\n".join(textwrap.wrap(f"{k + 1}. {place.caption}", LETTERS))
        draw.multiline_text((x + 2, y + CELL + 2), text, fill="black", spacing=1)
    return out


def picture(place: Place, data: Path, layers: Path) -> Image.Image:
    """One place with what was drawn and, where there are any, the labels."""
    scene = data / place.scene
    shown = [(read_footprints(layers / f"{scene.name}.gpkg")[0], PREDICTED)]
    if (labels := scene / "buildings.geojson").is_file():
        shown.insert(0, (read_footprints(labels)[0], TRUE))
    with Mosaic.open(str(scene / "mosaic.tif"), gsd=place.side / CELL) as mosaic:
        centre = reprojected(np.array([[place.lon, place.lat]]), WGS84, mosaic.grid.crs)
        x, y = (round(v - CELL / 2) for v in mosaic.grid.to_pixel(centre)[0])
        box = PixelBox(x, y, x + CELL, y + CELL)
        image, _ = mosaic.read(box)
        return outlined(Image.fromarray(image), mosaic.grid.crop(box), shown)


if __name__ == "__main__":
    main()
