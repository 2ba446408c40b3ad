from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from safetensors import SafetensorError

from buildex.card import CARD, WEIGHTS, ModelCard, card_text, read_card
from buildex.errors import ModelError, OutputError
from buildex.geo.keypoints import RoiCodec
from buildex.io.zoo import find_model
from buildex.nn.network import Network
from buildex.nn.weights import load_model, save_model
from tests.nn.made import tiny_spec

SPEC = tiny_spec()
CARD_SAID = ModelCard(
    name="small", version="3", gsd=0.1, size=64, network=SPEC, codec=RoiCodec(cells=16),
    score=0.4, provenance={"seed": 7, "scenes": ["a", "b"]}, validation={"iou": 0.75},
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    return Network(SPEC).eval()


@pytest.fixture
def folder(network, tmp_path):
    save_model(network, CARD_SAID, tmp_path / "model")
    return tmp_path / "model"


def test_weights_that_cannot_be_written_leave_nothing_behind(network, tmp_path, monkeypatch):
    def full(_, path):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("buildex.nn.weights.save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        save_model(network, CARD_SAID, tmp_path / "model")
    assert not list((tmp_path / "model").iterdir())


def answers(network):
    images = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.manual_seed(3)).byte()
    with torch.inference_mode():
        pyramid, output = network(images, torch.ones(1, 64, 64, dtype=torch.bool))
        maps = network.maps(pyramid, [torch.tensor([[5.0, 5.0, 40.0, 40.0]])])
    return [*output.head.values(), *maps]


def test_a_model_that_was_saved_answers_as_before_to_half_precision(network, folder):
    loaded, card = load_model(folder)
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().to(value.dtype)), name
    for before, after in zip(answers(network), answers(loaded), strict=True):
        assert torch.allclose(before, after, rtol=0.02, atol=0.02)
    assert not loaded.training
    assert card.score == 0.4


def test_the_card_says_again_what_it_was_told(network, folder):
    card = read_card(folder)
    assert (card.name, card.version, card.size, card.network) == ("small", "3", 64, SPEC)
    assert card.codec == CARD_SAID.codec
    assert card.provenance == CARD_SAID.provenance
    assert card.validation == CARD_SAID.validation
    assert card.mean == pytest.approx(network.mean.flatten().tolist())


def test_a_model_of_pixels_of_another_scale_is_refused(folder):
    """So it is with those of efficientnet_lite0 that were trained as if it were lite2."""
    card = read_card(folder)
    (folder / CARD).write_text(card_text(replace(card, mean=(0.1, 0.1, 0.1))))
    with pytest.raises(ModelError, match="another scale") as caught:
        load_model(folder)
    assert "--runtime onnx" in caught.value.hint


def test_released_models_load_though_timm_had_weights_of_its_own_for_their_encoder(monkeypatch):
    """As of other timms than the one that is installed."""
    known = timm.get_pretrained_cfg

    def later(name, *others, **options):
        config = known(name, *others, **options)
        lite = name == "efficientnet_lite2"
        return replace(config, url="somewhere", mean=(0.1, 0.1, 0.1)) if lite else config

    monkeypatch.setattr(timm, "get_pretrained_cfg", later)
    assert timm.get_pretrained_cfg("efficientnet_lite2").has_weights
    network, card = load_model(find_model("drone-lite2"))
    assert network.mean.flatten().tolist() == pytest.approx(list(card.mean))


def test_a_model_is_two_files_and_can_be_replaced(network, folder):
    save_model(network, CARD_SAID, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, CARD])


def rewritten(folder, old, new):
    text = (folder / CARD).read_text()
    assert old in text
    (folder / CARD).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / CARD).unlink(), "is no model"),
        (lambda f: (f / WEIGHTS).unlink(), f"has no `{WEIGHTS}`"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:500]), "is damaged"),
        (lambda f: (f / WEIGHTS).write_bytes(b"weights"), "is damaged"),
        (lambda f: rewritten(f, "format = 1", "format = 2"), "model format 2, this buildex reads"),
        (lambda f: rewritten(f, "format = 1\n", ""), "model format None"),
        (lambda f: rewritten(f, "gsd = 0.1", "gsd = ["), "is not TOML"),
        (lambda f: rewritten(f, "gsd = 0.1", 'gsd = "fine"'), "`gsd` in"),
        (lambda f: rewritten(f, "gsd = 0.1", "colour = 1"), "unknown key `colour`"),
        (lambda f: rewritten(f, "roi_channels = 16", "roi_channels = 24"), "does not fit its"),
        (lambda f: rewritten(f, "fcos-keypoint", "yolo"), "use one of `fcos-keypoint`"),
    ],
)
def test_what_is_no_whole_model_of_this_version_is_refused(folder, damage, says):
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert says in str(caught.value)
    assert caught.value.hint
