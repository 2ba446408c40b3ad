"""Which buildex this is: a version does not tell a clone before a pull from one after it."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import buildex


def edition() -> str:
    """The version, and in short what the package's sources are, e.g. `0.1.0+3f9ab2c41d07`."""
    return f"{buildex.__version__}+{_sources()}"


@cache
def _sources() -> str:
    """The first of the SHA-256 of all sources, as this process found them when it first asked."""
    package = Path(buildex.__file__).parent
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if not any(part.startswith(".") for part in name.parts):  # what editors and Finders leave
            text = path.read_bytes().replace(b"\r\n", b"\n")
            total.update(f"{name.as_posix()}\n".encode() + text)
    return total.hexdigest()[:12]
