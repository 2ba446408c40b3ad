"""Moving averages of a network's weights, as Lightning's loop keeps them."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

ParamList = list[Tensor] | tuple[Tensor, ...]


def averaging(decay: float, init_share: float = 0.0) -> WeightAveraging:
    """A moving average of the weights, used for validation and export.

    Its decay grows with the steps n as (1 + n) / (10 + n) up to `decay`, so that the random
    weights of the beginning are soon forgotten. All weights move at once: one by one, each
    would wait for the device.

    Args:
        decay: of the average, under 1.
        init_share: share of the weights that training starts from, see `Anchored`.
    """
    return Anchored(decay, init_share) if init_share > 0 else _Moving(decay)


class _Moving(WeightAveraging):
    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(use_buffers=False, multi_avg_fn=self.move)

    @property
    def state_key(self) -> str:
        """The name in checkpoints, which those of earlier versions have."""
        return WeightAveraging.__qualname__

    def move(self, averages: ParamList, now: ParamList, count: Tensor | int) -> None:
        """Bring the averages a step nearer to the weights of the moment."""
        keep = min(self.decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(keep)(averages, now, count)  # type: ignore[no-untyped-call]


class Anchored(_Moving):
    """A moving average that keeps a share of the weights which training started from.

    Fine-tuned and first weights lie in one valley, and between them a network has learnt the new
    and forgotten less of the old than where it went (Wortsman et al. 2022, Robust fine-tuning of
    zero-shot models): averaged is `share` * start + (1 - `share`) * weights. Checkpoints hold the
    start, so a run that goes on needs nothing else. Statistics of batch norms are not mixed: they
    have to be frozen.

    Args:
        decay: as of `averaging`.
        share: 0 to 1.
    """

    def __init__(self, decay: float, share: float) -> None:
        super().__init__(decay)
        self.share = share
        self.start: list[Tensor] = []

    @property
    def state_key(self) -> str:
        """The name in checkpoints: what it keeps is more than the others keep."""
        return type(self).__qualname__

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Note the start, where the average begins; a checkpoint that is loaded has its own."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            assert self._average_model is not None
            self._average_model.n_averaged.fill_(1)  # at 0 the first weights would be taken whole
            self.start = [weight.detach().clone() for weight in pl_module.parameters()]

    def move(self, averages: ParamList, now: ParamList, count: Tensor | int) -> None:
        """Bring the averages a step nearer to the mix of start and moment."""
        self.start = [first.to(other.device) for first, other in zip(self.start, now, strict=True)]
        super().move(averages, torch._foreach_lerp(list(now), self.start, self.share), count)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the start, too."""
        return {**super().state_dict(), "start": self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the start from a checkpoint."""
        super().load_state_dict(state_dict)
        self.start = list(state_dict["start"])
