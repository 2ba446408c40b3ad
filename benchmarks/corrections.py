"""What a mapper would still have to correct, by kind, per hundred true buildings.

    python benchmarks/corrections.py ../shared/data/val/zanzibar-val=val.gpkg ...

Each argument is a scene (folder of labels and area) and the layer that was drawn of it. The
kinds are those of `buildex score --layers`: every missed building and every false outline has
one cause (`geo.blame`). `adjust` are those found with an IoU under .8; `fine` are the rest.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import geopandas
import numpy as np

from buildex.scoring import SceneFiles, ScoreConfig, score_scenes

KINDS = {
    "fine": "found, and as it should be",
    "adjust": "found, walls to move",
    "part": "drawn together with a neighbour: to part",
    "join": "drawn in pieces: to join",
    "redraw": "drawn, but not alike: to draw anew",
    "add": "not drawn: to add",
    "delete": "drawn where there is no building: to delete",
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drawn", nargs="+", metavar="SCENE=LAYER")
    given = parser.parse_args()
    print("| scene | buildings | " + " | ".join(KINDS) + " |")
    print("|---|---" + "|---" * len(KINDS) + "|")
    for pair in given.drawn:
        scene, _, layer = pair.partition("=")
        count, found = counted(Path(scene), Path(layer))
        cells = " | ".join(f"{100 * found[kind] / count:.0f}" for kind in KINDS)
        print(f"| {Path(scene).name} | {count} | {cells} |", flush=True)
    print("\n".join(f"{kind}: {what}" for kind, what in KINDS.items()))


def counted(scene: Path, layer: Path) -> tuple[int, dict[str, int]]:
    """True buildings that count, and how many corrections of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "layers.gpkg"
        config = ScoreConfig(bootstrap=0)
        files = SceneFiles(
            predictions=layer, truth=scene / "buildings.geojson", aoi=scene / "aoi.geojson"
        )
        figures = score_scenes([files], config, layers=out).figures
        matched, missed, false = (
            geopandas.read_file(out, layer=name) for name in ("matched", "missed", "false")
        )
    rough = matched["iou"].to_numpy() < 0.8
    causes = missed["cause"].to_numpy()
    alone = false["cause"].to_numpy() == "alone"
    return int(figures["tp_50"] + figures["fn_50"]), {
        "fine": int((~rough).sum()),
        "adjust": int(rough.sum()),
        "part": int(np.sum(causes == "merged")),
        "join": int(np.sum(causes == "split")),
        "redraw": int(np.sum(causes == "shape")),
        "add": int(np.sum(causes == "alone")),
        "delete": int(alone.sum()),
    }


if __name__ == "__main__":
    main()
