"""Verification and identification with the features of a network, as a command and from Python."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import RunError, UserError, restore
from alexnet_jax.cli.main import main
from alexnet_jax.data.images import square
from alexnet_jax.faces.evaluate import evaluate_faces
from alexnet_jax.faces.lfw import Face, all_faces, people_of, read_pairs
from alexnet_jax.faces.verification import leave_one_out, verify
from alexnet_jax.layers import replaced
from alexnet_jax.loops.train import train
from alexnet_jax.parallel.mesh import data_mesh
from tests.conftest import error_lines
from tests.faces.conftest import named, write_pairs


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained, mesh=data_mesh())


@pytest.mark.parametrize(("layer", "views"), [(None, 1), ("pool1", 10)])
def test_results_are_those_of_the_features_of_the_images(net, lfw, layer, views):
    found = evaluate_faces(net, lfw.root, layer=layer, views=views, components=8, least=5, say=lambda _: None)
    folds = read_pairs(lfw.root / "pairs.txt")
    faces = all_faces(lfw.images, [name for fold in lfw.folds for name in fold], 1)
    images = [square((lfw.images / face.path).read_bytes(), 8)[0] for face in faces]
    features = net.features(np.stack(images), layer, views).reshape(len(faces), -1)
    rows = {face: row for row, face in enumerate(faces)}
    expected = verify(features, rows, leave_one_out(folds), "cosine", 8)
    (score,) = found.scores
    assert score.dimensions == features.shape[1]
    assert score.verification.accuracy == pytest.approx(expected.accuracy)
    assert score.verification.auc == pytest.approx(expected.auc, abs=1e-3)
    assert (score.identification.people, score.identification.images) == (12, 12 * 4)
    assert (found.images, found.trials) == (len(faces), 4)


def test_the_command_reports_the_network_and_the_baselines(trained, lfw, tmp_path, capfd):
    out, picture = tmp_path / "out.json", tmp_path / "roc.svg"
    args = ["faces", f"--workdir={trained}", f"--lfw={lfw.root}", "--layer=relu6", "--least=5", "--baselines"]
    assert main([*args, f"--json={out}", f"--save={picture}", "--metric=euclidean", "--components=8"]) == 0
    record = json.loads(out.read_text())
    names = ["relu6", "relu6, random weights", "pixels, 8x8"]
    assert [result["features"] for result in record["results"]] == names
    assert [result["dimensions"] for result in record["results"]] == [32, 32, 192]
    for result in record["results"]:
        for kind, values in (("verification", 4), ("identification", 10)):
            accuracy = result[kind]["accuracy"]
            assert len(accuracy["values"]) == values
            assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
            error = np.std(accuracy["values"], ddof=1) / np.sqrt(values)
            assert accuracy["standard_error"] == pytest.approx(error)
    pixels = record["results"][2]
    assert pixels["verification"]["accuracy"]["mean"] > 0.8  # a person's images are alike
    assert pixels["identification"]["accuracy"]["mean"] > 0.8
    assert (record["trials"], record["test_pairs"], record["people"], record["probes"]) == (4, 24, 12, 48)
    lines = capfd.readouterr().out.splitlines()
    assert lines[-6] == f"{lfw.root}/pairs.txt: 24 pairs in each of 4 folds; euclidean after PCA"
    assert lines[-5] == "rank 1: 48 images of 12 people, 1 more of each in the gallery"
    assert lines[-4].split("  ")[0] == "features"
    assert [line.split("  ")[0] for line in lines[-3:]] == names
    text = "".join(ET.parse(picture).getroot().itertext())
    assert all(name in text for name in [*names, "chance", "mismatched pairs that are accepted"])


def test_one_fold_is_tested_after_learning_on_other_people(net, lfw, tmp_path, capfd):
    trained_on = named(net, lfw.trained_on)
    with pytest.raises(
        UserError, match=r"trained on 12 of the people in .*pairs.txt .the first is Person_A0"
    ):
        evaluate_faces(trained_on, lfw.root, say=lambda _: None)
    options = {"components": 8, "least": 5, "say": lambda _: None}
    found = evaluate_faces(trained_on, lfw.root, "pairsDevTest.txt", **options)
    (score,) = found.scores
    assert (found.trials, score.verification.pairs) == (1, 48)
    learning, test = (read_pairs(lfw.root / f"pairsDev{name}.txt")[0] for name in ("Train", "Test"))
    identified = [f"Person_{fold}{j}" for fold in "CD" for j in range(3)]
    faces = {face for pair in (*learning, *test) for face in pair}
    faces = sorted(faces | {Face(name, number) for name in identified for number in range(1, 6)})
    images = np.stack([square((lfw.images / face.path).read_bytes(), 8)[0] for face in faces])
    rows = {face: row for row, face in enumerate(faces)}
    expected = verify(net.features(images), rows, [(learning, test)], "cosine", 8)
    assert score.verification.accuracy == pytest.approx(expected.accuracy)
    assert score.verification.threshold == pytest.approx(expected.threshold, abs=1e-3)
    assert score.identification.people == 6


def test_people_for_learning_must_not_be_those_of_the_test(net, lfw):
    with pytest.raises(UserError, match=r"12 of the 24 people in .* are in several folds"):
        evaluate_faces(net, lfw.root, "pairsDevTest.txt", "pairs.txt", say=lambda _: None)
    with pytest.raises(UserError, match="has 4 folds, each tested after learning on the others"):
        evaluate_faces(net, lfw.root, "pairs.txt", "pairsDevTrain.txt", say=lambda _: None)


def test_without_enough_images_nobody_is_identified(net, lfw):
    lines = []
    found = evaluate_faces(net, lfw.root, least=50, say=lines.append)
    assert found.scores[0].identification is None
    assert found.to_json()["results"][0]["identification"] is None
    assert lines[-1].startswith("alexnet-jax: note: nobody is identified: 0 people have enough images")
    assert str(found).split()[-2:] == ["-", "-"]
    found = evaluate_faces(net, lfw.root, least=2, say=lines.append)  # nobody is left for the PCA
    assert found.scores[0].identification is None


def test_lists_elsewhere_may_be_named(net, lfw, tmp_path, monkeypatch):
    write_pairs(tmp_path / "mine.txt", "2 12", lfw.folds[:2])
    monkeypatch.chdir(tmp_path)
    assert evaluate_faces(net, lfw.root, "mine.txt", say=lambda _: None).trials == 2
    assert evaluate_faces(net, "lfw", tmp_path / "mine.txt", say=lambda _: None).trials == 2


def test_a_list_for_a_training_is_written(lfw, tmp_path, capfd):
    out = tmp_path / "list.csv"
    assert main(["faces", f"--lfw={lfw.root}", f"--list={out}", "--least=4"]) == 0
    assert len(out.read_text().splitlines()) == 1 + 30
    assert capfd.readouterr().out == f"{out}: 30 images of 6 people with 4 or more\n"


def test_a_picture_may_be_png(trained, lfw, tmp_path, capfd):
    picture = tmp_path / "roc.png"
    assert main(["faces", f"--workdir={trained}", f"--lfw={lfw.root}", f"--save={picture}"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_activations_must_be_finite(net, lfw):
    nans = dataclasses.replace(net, params=jax.tree.map(lambda x: jnp.full_like(x, np.nan), net.params))
    with pytest.raises(RunError, match="are not finite"):
        evaluate_faces(nans, lfw.root, say=lambda _: None)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--lfw=lfw"], "--workdir=DIR is missing"),
        ([], "--lfw=DIR is missing"),
        (["--lfw=gs://bucket/lfw", "{net}"], "must be on a local disk"),
        (["--lfw=lfw", "{net}", "--layer=fc9"], "there is no layer fc9"),
        (["--lfw=lfw", "{net}", "--views=3"], "--views is 3"),
        (["--lfw=lfw", "{net}", "--gallery=10"], "--gallery is 10, but must be smaller than --least, 10"),
        (["--lfw=lfw", "{net}", "--metric=l1"], "--metric"),
        (["--lfw=lfw", "{net}", "--save=roc.gif"], "--save=roc.gif must end in .svg or .png"),
        (["--lfw=lfw", "{net}", "--pairs=no.txt"], "lfw/no.txt can't be read: No such file"),
        (["--lfw=lfw", "{net}", "--people=x.txt"], "--people is only for --list=FILE.csv: remove --people"),
        (["--lfw=lfw", "--list=x.csv", "--views=1"], "--views goes without --list=FILE.csv: remove --views"),
        (["--lfw=lfw", "--list=no/x.csv"], "--list=no/x.csv can't be written"),
        (["--lfw=lfw", "--list=x.csv", "--least=9"], "0 of the 12 people"),
    ],
)
def test_mistakes_are_refused_in_one_line(trained, lfw, args, message, monkeypatch, capfd):
    monkeypatch.chdir(lfw.root.parent)
    assert main(["faces", *(arg.format(net=f"--workdir={trained}") for arg in args)]) == 2
    (line,) = error_lines(capfd.readouterr().err)
    assert message in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lfw: (lfw.images / "Person_B1").rename(lfw.root / "x"), "1 of the 24 people in lfw/"),
        (lambda lfw: (lfw.images / "Person_B1/Person_B1_0002.jpg").unlink(), "1 of the 72 images in lfw/"),
        (lambda lfw: (lfw.images / "Person_B1/Person_B1_0002.jpg").write_bytes(b"x"), "0002.jpg can't be"),
        (lambda lfw: write_pairs(lfw.root / "pairs.txt", "3 12", lfw.folds), "has 96 pairs, but its first"),
    ],
)
def test_faults_of_the_data_are_refused_in_one_line(trained, lfw, change, message, monkeypatch, capfd):
    monkeypatch.chdir(lfw.root.parent)
    change(lfw)
    assert main(["faces", f"--workdir={trained}", "--lfw=lfw"]) == 2
    *_, line = error_lines(capfd.readouterr().err)
    assert message in line


def test_a_network_trained_on_people_is_tested_on_others_only(trained, lfw, tiny, tmp_path, capfd):
    assert main(["faces", f"--lfw={lfw.root}", f"--list={tmp_path}/list.csv", "--least=4"]) == 0
    tiny.data.source, tiny.data.validation = f"csv:{tmp_path}/list.csv", None
    tiny.net.layers = replaced(tiny.net.layers, "fc8", classes=0)
    tiny.init_from, tiny.num_steps = str(trained), 2
    train(tiny, tmp_path / "run")
    class_names = json.loads((tmp_path / "run" / "data.json").read_text())["class_names"]
    lists = (lfw.root / f"pairsDev{name}.txt" for name in ("Train", "Test"))
    learning, test = (people_of(read_pairs(path)[0]) for path in lists)
    assert {*class_names} < learning
    assert not {*class_names} & test
    capfd.readouterr()
    args = ["faces", f"--workdir={tmp_path}/run", f"--lfw={lfw.root}"]
    assert main(args) == 2
    (line,) = error_lines(capfd.readouterr().err)
    assert f"{tmp_path}/run was trained on 6 of the people in {lfw.root}/pairs.txt (the first is" in line
    assert main([*args, "--pairs=pairsDevTest.txt"]) == 0
