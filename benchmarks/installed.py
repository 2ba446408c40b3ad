"""How large an installation is: the files of all dependencies, with and without an extra.

    python benchmarks/installed.py
    python benchmarks/installed.py --extra train

Counts what is installed where it runs; what is not is named. Same as `du` of a fresh
environment, less pip and the interpreter.
"""

from __future__ import annotations

import argparse
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def main() -> None:
    """Print the sum and the largest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", action="append", default=[])
    given = parser.parse_args()
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in given.extra:
        wanted += project["optional-dependencies"][extra]
    sizes = closure([Requirement(text) for text in wanted])
    largest = sorted(sizes, key=lambda name: -sizes[name])[:8]
    print(f"{len(sizes)} packages, {sum(sizes.values()) / 2**20:.0f} MiB")
    print(", ".join(f"{name} {sizes[name] / 2**20:.0f}" for name in largest))
    print("not installed:", ", ".join(n for n, size in sizes.items() if not size) or "none")


def closure(wanted: list[Requirement]) -> dict[str, int]:
    """Bytes of each package that these need, directly or not."""
    sizes: dict[str, int] = {}
    while wanted:
        name = canonicalize_name(wanted.pop().name)
        if name in sizes or name == "buildex":
            continue
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            sizes[name] = 0
            continue
        files = [Path(str(file.locate())) for file in found.files or ()]
        sizes[name] = sum(file.stat().st_size for file in files if file.is_file())
        needs = [Requirement(text) for text in found.requires or ()]
        wanted += [r for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]
    return sizes


if __name__ == "__main__":
    main()
