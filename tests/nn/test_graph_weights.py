"""Weights of ONNX graphs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from buildex.nn.graph_weights import fold, halve, widen


class Net(nn.Module):
    """A pair that can be one, a pair whose middle is needed elsewhere, and a pair that bends."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 50, 3, padding=1), nn.Conv2d(50, 40, 1)
        self.c, self.d = nn.Conv2d(40, 6, 3, stride=2, padding=1), nn.Conv2d(6, 2, 1)
        self.e, self.f = nn.Conv2d(40, 6, 3), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = self.b(self.a(x))
        middle = self.c(x)
        return self.d(middle), middle, self.f(self.e(x).relu())


class Chain(nn.Module):
    """Three that follow one another, and a pointwise one that skips pixels."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.ReLU(),
            nn.Conv2d(8, 4, 3), nn.Conv2d(4, 4, 1, stride=2), nn.ReLU(),
            nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1, padding=1),
        )  # fmt: skip

    def forward(self, x):
        return self.parts(x)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    torch.manual_seed(0)
    return written(Net(), tmp_path_factory.mktemp("graph") / "net.onnx")


def written(net, path):
    torch.onnx.export(
        net.half().float().eval(), (torch.randn(1, 3, 8, 8),), str(path), dynamo=False,
        opset_version=18, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
    )  # fmt: skip
    return onnx.load(str(path))


def copied(graph):
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy


def answers(graph):
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    return session.run(None, {session.get_inputs()[0].name: x})


def convolutions(graph):
    return sum(node.op_type == "Conv" for node in graph.graph.node)


def test_halves_are_the_same_weights_and_half_as_many_bytes(graph):
    half = copied(graph)
    halve(half)
    assert half.ByteSize() < 0.7 * graph.ByteSize()
    back = copied(half)
    widen(back)
    assert not any(node.op_type == "Cast" for node in back.graph.node)
    for other in (half, back):
        for mine, true in zip(answers(other), answers(graph), strict=True):
            assert (mine == true).all()


def test_two_convolutions_are_one_where_nothing_lies_between(graph):
    folded = copied(graph)
    fold(folded)
    assert (convolutions(graph), convolutions(folded)) == (6, 5)
    onnx.checker.check_model(folded)
    weights = {one.name for one in folded.graph.initializer}
    assert weights == {name for node in folded.graph.node for name in node.input} & weights
    for mine, true in zip(answers(folded), answers(graph), strict=True):
        assert mine == pytest.approx(true, abs=1e-4)


def test_what_skips_pixels_or_looks_beside_the_image_stays_and_chains_hold(tmp_path):
    torch.manual_seed(1)
    chain = written(Chain(), tmp_path / "chain.onnx")
    folded = copied(chain)
    fold(folded)
    assert convolutions(folded) == convolutions(chain) - 1
    onnx.checker.check_model(folded)
    (mine,), (true,) = answers(folded), answers(chain)
    assert mine.shape == true.shape
    assert mine == pytest.approx(true, abs=1e-5)
