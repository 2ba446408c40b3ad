"""Small models with graphs."""

from __future__ import annotations

import torch

from buildex.card import ModelCard
from buildex.geo.keypoints import RoiCodec
from buildex.nn.export import write_graphs
from buildex.nn.network import new_network
from buildex.nn.weights import load_model, save_model
from tests.nn.made import tiny_spec

SIDE, CELLS = 128, 16


def lively(network):
    """Random weights that find something: the biases of classes are taken back."""
    for name, value in network.named_parameters():
        if "cls_logits" in name or "predict.cls_score" in name:
            torch.nn.init.normal_(value, std=0.3)
        elif "objectness" in name or "bbox" in name:
            torch.nn.init.normal_(value, std=0.03)
    return network.eval()


def saved(architecture, folder, corners=None):
    torch.manual_seed(4)
    spec = tiny_spec(CELLS, architecture=architecture, corners=corners, detections=12)
    card = ModelCard(
        name="small", version="3", gsd=0.1, size=SIDE, network=spec,
        codec=RoiCodec(cells=CELLS), score=0.35,
    )  # fmt: skip
    save_model(lively(new_network(spec)), card, folder)
    return folder


def exported(architecture, folder, corners=None):
    model = saved(architecture, folder, corners)
    write_graphs(*load_model(model), model)
    return model
