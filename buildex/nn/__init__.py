"""Networks: the only room that knows tensors. No rasters, no vector files, no datasets."""
