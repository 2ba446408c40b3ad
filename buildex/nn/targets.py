"""Targets of many frames, drawn at once on the device that learns.

What `geo.keypoints.RoiCodec.encode` draws for one frame in numpy; a test holds the two equal. The
codec says where edges and corners lie (`RoiCodec.sketch`), this module only fills.
Shapes: R frames of M x M cells, E edges, P corners.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from buildex.geo.keypoints import RoiCodec, RoiSketch


class RoiMapsTruth(NamedTuple):
    """The perfect answer for each frame."""

    mask: Tensor  # (R, 1, M, M) share of the cell that the building covers
    heatmap: Tensor  # (R, 1, M, M) 1 in a corner's cell, a Gaussian around it
    offset: Tensor  # (R, 2, M, M) place of the corner in its cell, 0..1, x then y
    at: Tensor  # (R, 1, M, M) bool, cells that hold a corner


def draw(sketch: RoiSketch, codec: RoiCodec, device: torch.device) -> RoiMapsTruth:
    """Draw the maps of a sketch's frames."""
    count, m = len(sketch.sigmas), codec.cells
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no doubles
    edges = torch.from_numpy(sketch.edges).to(device, exact)
    edge_of = torch.from_numpy(sketch.edge_of).to(device)
    cells = torch.from_numpy(sketch.cells).to(device)
    corner_of = torch.from_numpy(sketch.corner_of).to(device)
    sigmas = torch.from_numpy(sketch.sigmas).to(device, torch.float32)
    column, row = cells.unbind(1)
    offset = torch.zeros((count, m, m, 2), device=device)
    offset[corner_of, row, column] = torch.from_numpy(sketch.offsets).to(device)
    at = torch.zeros((count, 1, m, m), dtype=torch.bool, device=device)
    at[corner_of, 0, row, column] = True
    return RoiMapsTruth(
        coverage(edges, edge_of, count, m, codec.subcells)[:, None],
        _bumps(cells, corner_of, sigmas, m)[:, None],
        offset.permute(0, 3, 1, 2),
        at,
    )


def coverage(edges: Tensor, edge_of: Tensor, count: int, cells: int, subcells: int) -> Tensor:
    """Share of each cell inside the polygons of its frame, by the even-odd rule.

    Every edge flips all points to its right in the rows of points that it crosses, as in
    `geo.rings.fill`; points stand at the centres of subcells.

    Args:
        edges: (E, 4) x, y of the start, x, y of the end, in cells.
        edge_of: (E,) number of the frame.
        count: R.
        cells: M.
        subcells: along each side of a cell.

    Returns:
        (R, M, M) float32.
    """
    side = cells * subcells
    x0, y0, x1, y1 = (edges * subcells).unbind(1)
    rows = torch.arange(side, device=edges.device)
    level = rows + 0.5
    crossed = (torch.minimum(y0, y1)[:, None] <= level) & (level < torch.maximum(y0, y1)[:, None])
    edge, row = crossed.nonzero(as_tuple=True)
    along = (level[row] - y0[edge]) / (y1 - y0)[edge]
    x = x0[edge] + along * (x1 - x0)[edge]
    column = (x - 0.5).ceil().clamp(0, side).long()
    place = (edge_of[edge] * side + row) * (side + 1) + column
    flips = torch.zeros(count * side * (side + 1), dtype=torch.int32, device=edges.device)
    flips.index_add_(0, place, torch.ones_like(place, dtype=torch.int32))
    flips = flips.view(count, side, side + 1)[:, :, :side]
    inside = (flips.cumsum(2, dtype=torch.int32) & 1).float()
    return inside.view(count, cells, subcells, cells, subcells).mean(dim=(2, 4))


def _bumps(cells: Tensor, corner_of: Tensor, sigmas: Tensor, m: int) -> Tensor:
    """The heatmaps (R, M, M): the highest Gaussian of each frame's corners (P, 2)."""
    steps = torch.arange(m, device=cells.device)
    narrow = 1 / (2 * sigmas[corner_of, None] ** 2)
    across = torch.exp(-((steps - cells[:, :1]) ** 2) * narrow)
    down = torch.exp(-((steps - cells[:, 1:]) ** 2) * narrow)
    bumps = down[:, :, None] * across[:, None, :]
    heatmaps = bumps.new_zeros((len(sigmas), m, m))
    return heatmaps.scatter_reduce_(0, corner_of[:, None, None].expand_as(bumps), bumps, "amax")
