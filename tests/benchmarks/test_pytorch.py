"""benchmarks/peers/pytorch.py: it does what our step does, also in the form for GPUs."""

import importlib

import pytest

from tests.conftest import ROOT

torch = pytest.importorskip("torch")


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "peers")
    return importlib.import_module("pytorch")


@pytest.mark.parametrize("views", ["looped_views", "gathered_views"])
def test_a_view_is_a_crop_without_the_mean_and_perhaps_mirrored(peer, views):
    images = torch.arange(2 * 7 * 7 * 3, dtype=torch.uint8).reshape(2, 7, 7, 3)
    mean, size = torch.rand(7, 7, 3), 5
    found = getattr(peer, views)(images, mean, torch.zeros(3, 3), size)
    assert found.shape == (2, 3, size, size)
    for view, image in zip(found, images - mean, strict=True):
        crops = [image[i : i + size, j : j + size] for i in range(3) for j in range(3)]
        both = [each.permute(2, 0, 1) for crop in crops for each in (crop, crop.flip(1))]
        assert sum(torch.allclose(view, each) for each in both) == 1


@pytest.mark.parametrize("mode", ["eager", "channels_last+plain"])
def test_a_step_trains_with_the_views_for_gpus(peer, monkeypatch, mode):
    monkeypatch.setattr(peer, "looped_views", peer.gathered_views)
    torch.manual_seed(0)
    step = peer.workload("train", set(mode.split("+")), "bfloat16", 2, "cpu")
    losses = [float(step()) for _ in range(3)]
    assert losses[0] == pytest.approx(6.9, abs=2)  # ln(1000) with two images and dropout
    assert len(set(losses)) == 3
