"""What can be asked of a score: one frozen value, from which the command's options are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from buildex.errors import ConfigError
from buildex.geo.boundary_bands import band_width
from buildex.geo.evidence import Rules
from buildex.geo.figures import LOWER, Figure, figures_for
from buildex.geo.measures import SSIM_WINDOW

COCO_SIZES = (10.24, 92.16)  # m2: COCO's squares of 32 and 96 pixels, of 10 cm each


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How to compare predictions with truth."""

    gsd: float = field(
        default=0.10, metadata={"help": "Side of a pixel in metres, for the pixel measures."}
    )
    iou: tuple[float, ...] = field(
        default=(0.5,),
        metadata={"help": "Least IoU at which two buildings pair; repeatable, first for outlines."},
    )
    block: float = field(
        default=51.2,
        metadata={"help": "Side in metres of the tiles of means and of the blocks of intervals."},
    )
    boundary: float | None = field(
        default=None,
        metadata={
            "help": "Width in metres of the band of boundary IoU.  [default: 2 % of a tile's"
            " diagonal, 1.45]"
        },
    )
    sizes: tuple[float, ...] = field(
        default=COCO_SIZES,
        metadata={
            "help": "Area in m2 that parts small from medium, then medium from large: twice."
        },
    )
    bootstrap: int = field(
        default=1000, metadata={"help": "Draws for the 95 % intervals; 0 for no intervals."}
    )
    seed: int = field(default=0, metadata={"help": "Where the draws start."})
    score_field: str = field(
        default="score", metadata={"help": "Column that ranks the predictions, for AP."}
    )
    incomplete_truth: bool = field(
        default=False,
        metadata={
            "help": "The truth lacks buildings: only figures that stay fair, and predictions"
            " without a label are listed as candidates to map."
        },
    )
    as_published: bool = field(
        default=False,
        metadata={"help": "Also measure as published code does, errors and all, to read papers."},
    )
    fail_under: dict[str, float] = field(
        default_factory=dict,
        metadata={
            "help": "Exit with 3 where a figure of the JSON is lower, such as f1_50=.6; repeatable."
        },
    )

    def __post_init__(self) -> None:
        _check(0 < self.gsd < math.inf, f"`gsd` is {self.gsd}", "use metres a pixel, such as 0.1")
        _check(0 < self.block < math.inf, f"`block` is {self.block}", "use metres, such as 51.2")
        _check(self.seed >= 0, f"`seed` is {self.seed}", "use 0 or more")
        _check(len(self.iou) > 0, "`iou` is empty", "use a number above 0, up to 1")
        for iou in self.iou:
            _check(0 < iou <= 1, f"`iou` is {iou}", "use a number above 0, up to 1")
        _check(
            SSIM_WINDOW <= self.block_pixels <= 8192,
            f"`block` is {self.block:g} m, {self.block_pixels} pixels of {self.gsd:g} m",
            f"use {SSIM_WINDOW} to 8192 pixels",
        )
        _check(0 < self.band < math.inf, f"`boundary` is {self.band}", "use metres, such as 1.45")
        _check(
            len(self.sizes) == 2 and 0 < self.sizes[0] < self.sizes[-1],
            f"`sizes` is {', '.join(f'{size:g}' for size in self.sizes)}",
            "give two areas in m2, the lower first",
        )
        _check(self.bootstrap >= 0, f"`bootstrap` is {self.bootstrap}", "use 0 or more")
        unknown = sorted(set(self.fail_under) - set(self.figure_names))
        _check(
            not unknown,
            f"`fail_under` names no figure `{', '.join(unknown)}`",
            f"figures are {', '.join(self.figure_names)}",
        )
        for figure in self.figures:
            _check(
                figure.name not in self.fail_under or figure.better != LOWER,
                f"`fail_under` names `{figure.name}`, which is better the lower it is",
                "name a figure of which more is better, such as `f1_50`",
            )

    @property
    def block_pixels(self) -> int:
        """Side of a tile in pixels."""
        return round(self.block / self.gsd)

    @property
    def band(self) -> float:
        """Width of the band of boundary IoU in metres."""
        return band_width(self.block, self.gsd) if self.boundary is None else self.boundary

    @property
    def rules(self) -> Rules:
        """The same, as the comparison takes it."""
        return Rules(
            ious=tuple(dict.fromkeys(self.iou)),
            gsd=self.gsd,
            tile=self.block_pixels,
            band=self.band,
            sizes=(self.sizes[0], self.sizes[1]),
            published=self.as_published,
        )

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """All figures of a report."""
        return figures_for(self.rules.ious, self.as_published, self.incomplete_truth)

    @property
    def figure_names(self) -> list[str]:
        """Their names, as in JSON and in `fail_under`."""
        return [figure.name for figure in self.figures]


def _check(right: bool, message: str, hint: str) -> None:
    if not right:
        raise ConfigError(message, hint=hint)
