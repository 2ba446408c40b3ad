from __future__ import annotations

from types import SimpleNamespace

import lightning
import pytest
import torch
from torch import nn

from buildex.nn.averages import averaging


class Weight(lightning.LightningModule):
    """One number that learns."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


def averages(decay, values, callback=None):
    """What the average of a weight is after each of its values; it starts from 0."""
    callback, model = callback or averaging(decay), Weight()
    callback.setup(None, model, "fit")
    found = []
    for step, value in enumerate(values, start=1):
        model.value.data.fill_(value)
        callback.on_train_batch_end(SimpleNamespace(global_step=step), model, None, None, 0)
        found.append(callback._average_model.module.value.item())
    return found


def test_the_average_begins_with_the_first_weights_and_forgets_them_soon():
    found = averages(0.9, [1.0, *[0.0] * 60])
    assert found[0] == 1
    assert found[1] == pytest.approx(2 / 11)  # keeps (1 + n) / (10 + n) of what it was, n = 1
    assert found[2] == pytest.approx(2 / 11 * 3 / 12)


def test_the_average_never_keeps_more_than_its_decay():
    found = averages(0.5, [1.0, *[0.0] * 20])
    assert found[-1] == pytest.approx(found[-2] / 2)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_start_stays_however_long_it_learns(share):
    values = [1.0 + step % 7 for step in range(200)]
    mixed = averages(0.9, values, averaging(0.9, share))
    assert mixed[-1] == pytest.approx((1 - share) * averages(0.9, values)[-1])  # it starts from 0


def test_with_a_share_the_average_begins_at_the_start():
    found = averages(0.9, [1.0, 1.0], averaging(0.9, 0.5))
    assert found == pytest.approx([0.5 * 9 / 11, 0.5 * (1 - 2 / 11 * 3 / 12)])


def test_with_all_of_the_start_nothing_changes():
    assert averages(0.9, [3.0] * 100, averaging(0.9, 1.0))[-1] == pytest.approx(0, abs=1e-4)


def test_a_run_that_goes_on_keeps_the_start_of_its_beginning():
    values = [1.0 + step % 7 for step in range(60)]
    callback = averaging(0.9, 0.5)
    averages(0.9, values, callback)
    state = callback.state_dict()
    later = averaging(0.9, 0.5)
    model = Weight()
    model.value.data.fill_(9.0)  # not where it began
    later.setup(None, model, "fit")
    later.load_state_dict(state)
    assert [weight.item() for weight in later.start] == [0.0]
