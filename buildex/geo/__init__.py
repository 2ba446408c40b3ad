"""Exact things: grids, tiles, rings, footprints, measures. No files, no tensors."""
