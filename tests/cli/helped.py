"""What a command's help has to tell."""

from __future__ import annotations

import dataclasses
import re


def named_in(text: str, settings: type) -> set[str]:
    """The options that a help names: all fields of a settings dataclass, each with its own help."""
    named = set(re.findall(r"(?m)^  (?:-\w, )?(--[\w-]+)", text))
    told = "".join(text.split())
    for spec in dataclasses.fields(settings):
        if spec.metadata.get("cli", True):
            assert f"--{spec.name.replace('_', '-')}" in named
            assert spec.metadata["help"]
            assert "".join(spec.metadata["help"].split()) in told, spec.name
    return named
