"""The only code that imports torch. No rasters, no vector files."""
