"""Features of a photograph with many windows are computed in pieces."""

import numpy as np

from alexnet_jax import restore
from alexnet_jax.detection import examples as module
from alexnet_jax.detection.annotations import read_annotations
from alexnet_jax.detection.examples import examples, extract
from alexnet_jax.detection.extractor import extractor


def test_pieces_give_the_same_features(network, drawings, grid, tmp_path, monkeypatch, capfd):
    photographs = read_annotations([str(drawings)], lists=["train"]).photographs[:3]
    windows = examples(photographs, tmp_path / "proposals", 50, True, print)
    assert [each.objects for each in windows] == [1, 1, 1]
    np.testing.assert_array_equal(windows[0].boxes_Nx4[0], photographs[0].boxes_Nx4[0])
    made = extractor(restore(network))
    whole = extract(made, windows, tmp_path / "whole", print)
    monkeypatch.setattr(module, "_PIECE", 16)
    pieces = extract(made, windows, tmp_path / "pieces", print)
    for each in windows:
        for name in ("units_NxU", "maps_NxM"):
            np.testing.assert_allclose(pieces.read(each, name), whole.read(each, name), rtol=2e-3, atol=1e-2)
            np.testing.assert_array_equal(vars(whole.both(each))[name], whole.read(each, name))
    out = capfd.readouterr().out
    assert "proposals of 3 photographs in " in out
    assert f"features of {sum(len(each.boxes_Nx4) for each in windows)} windows in " in out
    assert out.count(" a second") == 3
    # Everything is in the files: nothing is computed, and no line is printed.
    extract(made, examples(photographs, tmp_path / "proposals", 50, True, print), tmp_path / "pieces", print)
    assert capfd.readouterr().out == ""


def test_a_photograph_without_proposals_has_no_windows(network, drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(module.proposals, "selective_search", lambda: lambda image: np.zeros((0, 4)))
    photographs = read_annotations([str(drawings)], lists=["val"]).photographs[:2]
    windows = examples(photographs, tmp_path / "proposals", 50, False, print)
    found = extract(extractor(restore(network)), windows, tmp_path / "features", print)
    assert found.read(windows[0], "units_NxU").shape == (0, 48)
