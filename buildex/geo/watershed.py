"""Regions of pixels: connected ones, and those that flooding finds around markers.

Pure numpy, because training validates with it on machines that have nothing else. Pixels
are neighbours where they share a side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # (H, W); 0 is none, regions count from 1
Flags = NDArray[np.bool_]


def components(inside: Flags) -> Labels:
    """Connected regions of a mask (H, W), numbered in reading order of their first pixels."""
    starts, ends = _runs(inside)
    below = inside.shape[1] + 1  # from a place in a row to the one under it
    first = np.searchsorted(ends, starts + below, side="right")
    last = np.searchsorted(starts, ends + below, side="left")
    touching = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), touching)
    lower = np.arange(touching.sum()) + np.repeat(first - touching.cumsum() + touching, touching)
    root = _roots(len(starts), upper, lower)
    _, number = np.unique(root, return_inverse=True)
    labels = np.zeros(inside.shape, dtype=np.int64)
    labels[inside] = np.repeat(number + 1, ends - starts)
    return labels


def _runs(inside: Flags) -> tuple[Labels, Labels]:
    """First place (n,) and place after the last (n,) of each row's runs, in reading order.

    Place row * (W + 1) + col leaves a gap between rows, so runs of two rows never join.
    """
    gapped = np.pad(inside, ((0, 0), (0, 1))).ravel().astype(np.int8)
    change = np.diff(gapped, prepend=np.int8(0))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _roots(count: int, a: Labels, b: Labels) -> Labels:
    """The smallest member of each one's set (n,), where a[k] and b[k] are of one set.

    Sets are merged all at once and pointers halved, as in Shiloach and Vishkin (1982).
    """
    root = np.arange(count)
    while True:
        low = np.minimum(root[a], root[b])
        joined = root.copy()
        np.minimum.at(joined, root[a], low)
        np.minimum.at(joined, root[b], low)
        while not np.array_equal(shorter := joined[joined], joined):
            joined = shorter
        if np.array_equal(joined, root):
            return root
        root = joined


def watershed(
    height: NDArray[np.floating], markers: Labels, inside: Flags, levels: int = 32
) -> Labels:
    """Let regions grow from markers, low ground first (Vincent and Soille 1991).

    Args:
        height: (H, W) landscape, 0..1; it is flooded in `levels` steps.
        markers: (H, W) where regions begin; 0 where none does.
        inside: (H, W) the pixels that are flooded.
        levels: as many steps.

    Returns:
        Every pixel of `inside` that a marker reaches has a region. Where two arrive at once,
        the one that comes from lower ground wins, then the lower number.
    """
    width = height.shape[1] + 2
    region = np.pad(markers * inside, 1).ravel()
    free = np.pad(inside, 1).ravel() & (region == 0)
    step = np.pad(np.clip(height * levels, 0, levels - 1).astype(np.int64), 1).ravel()
    sides = np.array([-width, -1, 1, width])
    numbers = int(region.max(initial=0)) + 1
    no_merit = levels * numbers  # worse than that of any region at any height

    def shore(pixels: Labels) -> Labels:
        beside = np.unique((pixels[:, None] + sides).ravel())
        found: Labels = beside[free[beside]]
        return found

    waiting = shore(np.flatnonzero(region))
    for level in range(levels):
        low = step[waiting] <= level
        front, waiting = waiting[low], waiting[~low]
        while len(front):
            beside = front[:, None] + sides
            merit = np.where(region[beside] > 0, step[beside] * numbers + region[beside], no_merit)
            region[front] = merit.min(axis=1) % numbers
            free[front] = False
            reached = shore(front)
            low = step[reached] <= level
            front, waiting = reached[low], np.union1d(waiting, reached[~low])
        waiting = waiting[free[waiting]]
    return region.reshape(-1, width)[1:-1, 1:-1]
