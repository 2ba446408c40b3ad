"""The only code that opens rasters, vectors and datasets. No tensors."""
