from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from buildex.geo.suppression import BLOCK, suppress
from tests.runtime.test_boxes import some_boxes


@pytest.mark.parametrize("overlap", [0.3, 0.6])
def test_suppression_keeps_what_torchvision_keeps(overlap):
    boxes, scores = some_boxes(2 * BLOCK + 90)  # more than are looked at together, twice
    theirs = nms(torch.from_numpy(boxes), torch.from_numpy(scores), overlap).tolist()
    assert suppress(boxes, scores, overlap, len(boxes)).tolist() == theirs
    assert suppress(boxes, scores, overlap, 7).tolist() == theirs[:7]
    assert len(theirs) > BLOCK + 9
    assert suppress(boxes, scores, overlap, BLOCK + 9).tolist() == theirs[: BLOCK + 9]


def test_suppression_by_hand():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10], [0, 0, 10, 5]], np.float32)
    scores = np.array([0.5, 0.9, 0.1, 0.4], np.float32)  # the second covers 0.8 of the first
    assert suppress(boxes, scores, 0.7, 9).tolist() == [1, 3, 2]
    assert suppress(boxes, scores, 0.85, 9).tolist() == [1, 0, 3, 2]
    assert suppress(boxes[:0], scores[:0], 0.5, 9).tolist() == []
