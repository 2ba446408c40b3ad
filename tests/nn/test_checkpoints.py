from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch

from buildex.errors import OutputError
from buildex.io import output
from buildex.io.output import beside
from buildex.nn.checkpoints import Checkpoints


@pytest.fixture
def checkpoints(tmp_path):
    kept = Checkpoints(tmp_path, beside)
    kept.save_checkpoint({"weight": torch.ones(3)}, kept.last)
    return kept


def weight(path):
    return torch.load(path, weights_only=True)["weight"].tolist()


def test_what_is_saved_is_what_is_loaded(checkpoints):
    assert weight(checkpoints.last) == [1, 1, 1]
    loaded = checkpoints.load_checkpoint(checkpoints.last, weights_only=True)
    assert loaded["weight"].tolist() == [1, 1, 1]


def test_a_checkpoint_takes_its_place_in_one_step_from_its_own_folder(checkpoints, monkeypatch):
    """No other folder is written to: a move from another disk would be a copy."""
    moved = []

    def replace(source, target):
        moved.append((source, target))
        os.replace(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    checkpoints.save_checkpoint({"weight": torch.zeros(3)}, checkpoints.last)
    ((source, target),) = moved
    assert target == checkpoints.last
    assert source.parent.parent == target.parent
    assert weight(checkpoints.last) == [0, 0, 0]
    assert [path.name for path in checkpoints.last.parent.iterdir()] == ["last.ckpt"]


def test_a_save_that_fails_leaves_the_one_before(checkpoints, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "_to_disk", full)
    with pytest.raises(OutputError, match="` cannot be written: No space left on device"):
        checkpoints.save_checkpoint({"weight": torch.zeros(3)}, checkpoints.last)
    assert weight(checkpoints.last) == [1, 1, 1]
    assert [path.name for path in checkpoints.last.parent.iterdir()] == ["last.ckpt"]


def test_there_is_one_to_go_on_from_only_where_a_run_goes_on(tmp_path):
    assert Checkpoints(tmp_path, beside).start is None
    assert Checkpoints(tmp_path, beside, going_on=True).start == tmp_path / "last.ckpt"
