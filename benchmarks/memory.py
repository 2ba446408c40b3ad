"""Peak memory of `predict` on mosaics of any size: a real one, repeated as a VRT.

    python benchmarks/memory.py ../shared/data/train/banepa-centre/mosaic.tif --gigapixels 0.2 2
    python benchmarks/memory.py MOSAIC --gsd 0.03 --gigapixels 1 10

Each size runs in a process of its own. The network's place is taken by one that costs
nothing: it draws the same pattern of buildings wherever it looks, some of them in touching
rows, so that reading, decoding, stitching, finishing and writing are what they are on a
real town. `--model` takes a real network instead.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import shapely

from buildex.geo.boxes import PixelBox
from buildex.geo.footprints import to_rings
from buildex.geo.instances import RoiMaps, Tile
from buildex.geo.keypoints import RoiCodec
from buildex.geo.oracle import Oracle
from buildex.predicting import PredictConfig, open_model, predict

PERIOD = 384  # pixels after which the pattern of buildings begins again: one step of tiles


class Pattern:
    """A segmenter that sees the same buildings in every tile that shows ground."""

    def __init__(self) -> None:
        self.size, self.gsd, self.threshold = 512, 0.10, 0.5
        self.codec = RoiCodec()
        houses = [shapely.box(x, y, x + 100, y + 90) for x in (20, 120) for y in (30,)]
        rings = [
            to_rings(shapely.affinity.translate(house, dx, dy))
            for house in houses
            for dx in (0, PERIOD)
            for dy in (0, PERIOD)
        ]
        whole = Oracle(rings, size=self.size)
        tile = Tile(np.zeros((512, 512, 3), np.uint8), np.ones((512, 512), bool), _box())
        self._maps = whole([tile])[0]

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """The pattern."""
        return [self._maps for _ in tiles]


def _box() -> PixelBox:
    return PixelBox(0, 0, 512, 512)


def main() -> None:
    """Print a line for each size, and the ratio of the last peak to the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mosaic", type=Path)
    parser.add_argument("--gigapixels", type=float, nargs="+", default=[0.2, 2.0])
    parser.add_argument("--gsd", type=float, help="as if its pixels were so large, in metres")
    parser.add_argument("--model", help="a real network in place of the pattern")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(run(given.one, given.model)))
        return
    peaks = []
    for size in given.gigapixels:
        with tempfile.TemporaryDirectory() as folder:
            vrt = repeated(given.mosaic.resolve(), size * 1e9, Path(folder), given.gsd)
            command = [sys.executable, __file__, str(given.mosaic), "--one", str(vrt)]
            command += ["--model", given.model] if given.model else []
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures = json.loads(out.splitlines()[-1])
        peaks.append(figures["peak_mib"])
        print(
            f"{size:g} gigapixels: peak {figures['peak_mib']:.0f} MiB, {figures['buildings']} "
            f"buildings, {figures['tiles']} tiles, {figures['seconds']:.0f} s, "
            f"{figures['tiles_per_second']:.1f} tiles/s; seconds reading "
            f"{figures['seconds_reading']:.0f}, geometry {figures['seconds_geometry']:.0f}, "
            f"writing {figures['seconds_writing']:.0f}",
            flush=True,
        )
    print(f"ratio {peaks[-1] / peaks[0]:.2f}")


def repeated(mosaic: Path, pixels: float, folder: Path, gsd: float | None = None) -> Path:
    """A VRT, about square, that shows a mosaic over and over."""
    with rasterio.open(mosaic) as source:
        width, height, count = source.width, source.height, source.count
        crs, (x, a, b, y, d, e) = source.crs.to_wkt(), source.transform.to_gdal()
        zoom = 1.0 if gsd is None else gsd / source.res[0]
        transform = x, a * zoom, b * zoom, y, d * zoom, e * zoom
        block, mask = source.block_shapes[0], source.mask_flag_enums[0]
    side = math.sqrt(pixels)
    cols, rows = max(1, round(side / width)), max(1, round(side / height))
    alpha = any(flag.name == "per_dataset" for flag in mask) and not any(
        flag.name == "alpha" for flag in mask
    )
    bands = [(str(k), f'band="{k}"') for k in range(1, count + 1)]
    colours = ["Red", "Green", "Blue", "Alpha"]
    body = [f"<SRS>{_escaped(crs)}</SRS>"]
    body.append(f"<GeoTransform>{', '.join(map(repr, transform))}</GeoTransform>")
    for number, attribute in bands:
        colour = colours[int(number) - 1] if count in (3, 4) else "Undefined"
        sources = _sources(mosaic, number, (cols, rows), (width, height), block)
        body.append(
            f'<VRTRasterBand dataType="Byte" {attribute}><ColorInterp>{colour}</ColorInterp>'
            f"{sources}</VRTRasterBand>"
        )
    if alpha:
        sources = _sources(mosaic, "mask,1", (cols, rows), (width, height), block)
        body.append(
            f'<MaskBand><VRTRasterBand dataType="Byte">{sources}</VRTRasterBand></MaskBand>'
        )
    path = folder / "repeated.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{width * cols}" rasterYSize="{height * rows}">'
        f"{''.join(body)}</VRTDataset>"
    )
    return path


def _sources(
    mosaic: Path, band: str, times: tuple[int, int], size: tuple[int, int], block: tuple[int, int]
) -> str:
    (cols, rows), (width, height) = times, size
    rect = f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>'
    return "".join(
        f"<SimpleSource><SourceFilename>{mosaic}</SourceFilename><SourceBand>{band}</SourceBand>"
        f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="Byte" '
        f'BlockXSize="{block[1]}" BlockYSize="{block[0]}"/>{rect}'
        f'<DstRect xOff="{x * width}" yOff="{y * height}" xSize="{width}" ySize="{height}"/>'
        "</SimpleSource>"
        for y in range(rows)
        for x in range(cols)
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def run(vrt: Path, model: str | None) -> dict[str, float]:
    """One run in this process."""
    segmenter = open_model(model).segmenter if model else Pattern()
    started = time.perf_counter()
    report = predict(str(vrt), vrt.with_suffix(".gpkg"), segmenter, PredictConfig())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**report.as_dict(), "peak_mib": peak, "wall": time.perf_counter() - started}


if __name__ == "__main__":
    main()
