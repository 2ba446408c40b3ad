"""buildex: building footprints from drone mosaics."""

__version__ = "0.1.0"
