"""`buildex train`: train a model on datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from buildex.cli.console import result, say, track
from buildex.cli.options import collect, config_options
