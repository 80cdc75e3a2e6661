"""The page of a training, against the files from which it is made, and with some of them missing."""

import base64
import dataclasses
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from alexnet_jax import restore
from alexnet_jax.cli.main import main
from alexnet_jax.loops.train import train
from alexnet_jax.report import page as report
from alexnet_jax.report import training as report_training
from alexnet_jax.report.mistakes import Mistakes
from alexnet_jax.report.request import Request
from alexnet_jax.sweep.spec import Published
from alexnet_jax.training import goodput
from alexnet_jax.training.scores import Result
from tests.conftest import HOSTILE_NAMES, error_lines
from tests.hostile import forge


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The page of the tiny network, as text."""
    path = tmp_path_factory.mktemp("report") / "page.html"
    assert main(["report", f"--workdir={trained}", f"--save={path}"]) == 0
    return path.read_text()


@pytest.fixture
def copy(trained, tmp_path):
    """A workdir that a test may damage."""
    return shutil.copytree(trained, tmp_path / "copy")


def lines(workdir, kind):
    records = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == kind]


def test_the_facts_are_those_of_the_workdir(trained, monkeypatch):
    drawn = {}

    def curves(ident, title, series, reductions=(), **options):
        drawn[ident] = ({each.name: (list(each.x), list(each.y)) for each in series}, list(reductions))

    monkeypatch.setattr(report_training, "curves", curves)
    warnings = []
    facts = report_training.gather(Request(str(trained), step="20", split="train"), warnings.append)
    assert not warnings
    train, evaluations, layers = (lines(trained, kind) for kind in ("train", "eval", "layers"))
    assert (facts.epoch, facts.epochs, facts.steps) == (train[-1]["epoch"], train[-1]["epoch"], (40, 40))
    assert facts.last == evaluations[-1]
    assert facts.step == 20
    assert facts.tested.mistakes.result.examples == 1293
    assert "4 layers with weights in 2 towers" in facts.net
    assert facts.layers[-1][-1].startswith(facts.net.split()[-2])

    epochs = [line["epoch"] for line in train]
    at = [line["epoch"] for line in evaluations]
    series, reductions = drawn["errors"]
    assert series["training"] == (epochs, [line["top1_error"] for line in train])
    assert series["validation"] == (at, [line["top1_error"] for line in evaluations])
    assert series["validation, top 5"] == (at, [line["top5_error"] for line in evaluations])
    assert drawn["loss"][0]["training"] == (epochs, [line["loss"] for line in train])
    assert "mfu" not in drawn
    assert drawn["speed"][0]["images/s"] == (epochs, [line["images_per_second"] for line in train])
    # The learning rate is reduced at 0.3 epochs, 24 of 80 steps; a line for each ten steps.
    assert reductions == [(20 / 80, pytest.approx(0.002))]
    for what in ("weights", "steps"):
        assert list(drawn[what][0]) == ["conv1", "conv2", "fc6", "fc8"]
        assert drawn[what][0]["fc6"] == (at, [line["layers"]["fc6"][what] for line in layers])

    changed = {key: (here, default) for key, here, default in facts.changed}
    assert changed["schedule.boundaries"] == ("(0.3,)", "()")
    assert changed["data.source"] == ("sklearn:digits", "tfds:imagenet2012")
    assert "optimizer.momentum" not in changed
    assert dict(facts.settings)["optimizer.momentum"] == "0.9"


def test_the_page_has_a_curve_of_the_utilization_where_it_is_known(copy):
    path = copy / "metrics.jsonl"
    path.write_text(path.read_text().replace('"mfu": null', '"mfu": 0.25', 2))
    facts = report_training.gather(Request(str(copy)), print)
    assert facts.charts[-1].title == "Model FLOP utilization"
    training, layers = report.render("training.html.jinja", facts).split('id="layers-over-time"')
    assert "Model FLOP utilization" in training
    assert "Model FLOP utilization" not in layers


@pytest.mark.parametrize(("name", "marks"), [("steps", 2), ("constant", 2), ("cosine", 0)])
def test_reductions_are_marked_unless_each_update_is_one(copy, monkeypatch, name, marks):
    """A run with a constant learning rate may have resumed with another one."""
    read = report_training.read_workdir

    def changed(workdir):
        config, info = read(workdir)
        config.schedule.name, config.schedule.boundaries = name, ()
        return config, info

    monkeypatch.setattr(report_training, "read_workdir", changed)
    facts = report_training.gather(Request(str(copy)), print)
    assert sum(chart.svg.count("rate 0.002") for chart in facts.charts) == marks  # loss and errors
    page = report.render("training.html.jinja", facts)
    assert ("Dotted lines mark reductions" in page) == bool(marks)


def test_an_imported_network_is_not_said_to_have_seen_other_images(copy, monkeypatch):
    read = report_training.read_workdir
    monkeypatch.setattr(
        report_training,
        "read_workdir",
        lambda workdir: (read(workdir)[0], dataclasses.replace(read(workdir)[1], fingerprint="")),
    )
    assert report_training.gather(Request(str(copy)), print).problems == ()


def test_the_page_shows_what_the_time_was_spent_on(copy, capfd):
    seconds = {"steps": 400.0, "compiling": 20.0, "saving": 12.0}
    (copy / "goodput.json").write_text(
        json.dumps({"seconds": seconds, "checksum": goodput._checksum(seconds)})
    )
    facts = report_training.gather(Request(str(copy)), print)
    space = "\N{NO-BREAK SPACE}"
    assert [row for row in facts.goodput if row[2] != "0.0s"] == [
        ("in steps", f"92.6{space}%", "6m 40s"),
        ("compiling", f"4.6{space}%", "20.0s"),
        ("saving", f"2.8{space}%", "12.0s"),
        ("in all", f"100.0{space}%", "7m 12s"),
    ]
    page = report.render("training.html.jinja", facts)
    assert f'<th scope="row">in steps</th><td class="number">92.6{space}%</td>' in page
    for none in ("{}", '{"steps": 0}'):
        content = f'{{"seconds": {none}, "checksum": {goodput._checksum(json.loads(none))}}}'
        (copy / "goodput.json").write_text(content)
        assert report_training.gather(Request(str(copy)), print).goodput == []
    (copy / "goodput.json").unlink()  # as in a workdir of an earlier version
    assert main(["report", f"--workdir={copy}"]) == 0
    assert "Goodput" not in (copy / "report.html").read_text()
    (copy / "goodput.json").write_text("{}")
    assert main(["report", f"--workdir={copy}"]) == 2
    note = "goodput.json: checksum is missing: its times are ignored"
    assert f"alexnet-jax: {note}" in capfd.readouterr().err
    page = (copy / "report.html").read_text()
    assert note in page
    assert "Goodput" not in page


def test_the_page_has_the_errors_of_evaluate(trained, page, tmp_path):
    assert main(["evaluate", f"--workdir={trained}", f"--json={tmp_path}/e.json"]) == 0
    found = json.loads((tmp_path / "e.json").read_text())
    for text in (
        f"{100 * found['top1_error']:.2f}\N{NO-BREAK SPACE}%",
        f"{100 * found['top5_error']:.2f}\N{NO-BREAK SPACE}%",
    ):
        assert f"<dd>{text}</dd>" in page
    assert f"<dd>{found['loss']:.4f}</dd>" in page
    assert f"<dd>{100 * lines(trained, 'eval')[-1]['top1_error']:.1f}\N{NO-BREAK SPACE}%</dd>" in page
    assert f"--workdir={trained}</span> <span>--step=40</span> <span>--split=test" in page


def test_the_page_needs_no_other_file_and_its_ids_are_unique(page):
    sources = re.findall(r'\b(?:src|href)="([^"]{0,40})', page)
    assert len(sources) > 50
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\((?!#)|@import|<script", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 100
    links = re.findall(r'(?:href="|url\()#([^")]+)', page)
    named = [name for names in re.findall(r'aria-labelledby="([^"]+)"', page) for name in names.split()]
    assert {*links, *named} <= {*ids}


def test_charts_take_their_colours_from_the_page(page):
    charts = re.findall(r'<svg class="chart".*?</svg>', page, flags=re.DOTALL)
    assert len(charts) == 5
    for chart in charts:
        assert not re.search(r"#[0-9a-f]{6}\b", chart)
        assert not re.search(r"DejaVu|<style", chart)
        assert "var(--c0)" in chart


def opening(page):
    """Return the text of the header of a page, without tags."""
    header = re.search("<header>(.*)</header>", page, flags=re.DOTALL)[1]
    return " ".join(re.sub("<[^>]*>", "", header).replace("\N{NO-BREAK SPACE}", " ").split())


def test_the_page_begins_with_the_error_a_comparison_and_the_next_command(trained, page, tmp_path):
    assert main(["evaluate", f"--workdir={trained}", f"--json={tmp_path}/e.json"]) == 0
    error = 100 * json.loads((tmp_path / "e.json").read_text())["top1_error"]
    text = opening(page)
    first, _, _ = text.partition(" test error")
    assert f"The network misclassifies {error:.2f} % of 360 images of test. It has trained for" in first
    assert "40 of 40 steps" in first
    assert f"{100 * lines(trained, 'train')[-1]['top1_error']:.1f} %" in text
    assert "Random guesses have a top-1 error of 90.0 %." in text
    assert "Published" not in text
    assert (
        "To average over ten views of each image, as the paper does: alexnet-jax evaluate"
        f" --workdir={trained} --step=40 --split=test --views=10" in text
    )


def test_the_page_has_the_published_error_of_the_same_network(trained, monkeypatch):
    monkeypatch.setattr(report_training.published, "of_config", lambda config: Published("a set", 40.7, 18.2))
    page = report.render("training.html.jinja", report_training.gather(Request(str(trained)), print))
    assert (
        "Published for this network: 40.7 % top-1 error and 18.2 % top-5 error on a set. Random"
        in opening(page)
    )


@pytest.mark.parametrize(
    ("ended", "command"),
    [
        (False, "alexnet-jax train --config=RECIPE --workdir="),
        (True, "alexnet-jax predict --workdir="),
    ],
)
def test_the_next_command_continues_a_run_or_uses_it(trained, ended, command):
    facts = report_training.gather(Request(str(trained), views=10), print)
    assert dataclasses.replace(facts, ended=ended).next_step[1].startswith(f"{command}{trained}")
    without_test = dataclasses.replace(facts, tested=None)
    assert without_test.next_step[1] == f"alexnet-jax evaluate --workdir={trained}"


def test_a_training_has_ended_at_its_last_step_or_its_last_plateau(trained, tiny, tmp_path):
    def ended(workdir):
        return report_training.gather(Request(str(workdir)), print).ended

    assert ended(trained)
    tiny.schedule.name, tiny.num_steps, tiny.eval_every, tiny.checkpoint_every = "plateau", 60, 5, 5
    tiny.schedule.patience, tiny.schedule.max_reductions, tiny.schedule.min_improvement = 1, 0, 0.99
    assert train(tiny, tmp_path / "w").step == 5
    assert ended(tmp_path / "w")
    tiny.schedule.max_reductions = 1
    assert train(tiny, tmp_path / "w").step == 15  # it continues with lower rates
    shutil.rmtree(tmp_path / "w" / "checkpoints" / "15")  # as if it had been killed before
    assert not ended(tmp_path / "w")


def test_the_same_workdir_makes_the_same_page(trained, page, tmp_path):
    assert main(["report", f"--workdir={trained}", f"--save={tmp_path}/page.html"]) == 0
    assert (tmp_path / "page.html").read_text() == page


def test_a_run_without_checkpoints_has_curves_and_reports_what_is_missing(copy, capfd):
    shutil.rmtree(copy / "checkpoints")
    assert main(["report", f"--workdir={copy}"]) == 2
    out, err = capfd.readouterr()
    assert out.strip() == f"{copy}/report.html"
    assert len(error_lines(err)) == 1
    assert "alexnet-jax: there is no checkpoint yet, so there are no figures" in err
    assert "train writes one every 10 steps" in err
    page = (copy / "report.html").read_text()
    assert "there is no checkpoint yet" in page
    assert page.count('<svg class="chart"') == 5
    assert "Figure 3" not in page


def test_a_run_without_its_images_has_figure_3_and_prepares_nothing(trained, tmp_path, capfd):
    (tmp_path / "cache").mkdir()
    args = [f"--workdir={trained}", f"--config.data.cache_dir={tmp_path}/cache", f"--save={tmp_path}/p.html"]
    assert main(["report", *args]) == 2
    err = capfd.readouterr().err
    assert len(error_lines(err)) == 1
    assert f"sklearn:digits is not prepared in {tmp_path}/cache" in err
    assert "run alexnet-jax prepare" in err
    assert "--config.data.source" not in err  # a report does not prepare images
    assert not list((tmp_path / "cache").iterdir())
    page = (tmp_path / "p.html").read_text()
    assert "sklearn:digits is not prepared in" in page
    assert "Figure 3: the kernels of the first layer" in page
    assert "Figure 4, left" not in page


def test_other_images_are_reported_and_other_classes_are_refused(copy, cache_dir, capfd):
    data = json.loads((copy / "data.json").read_text())
    forge(copy, data=json.dumps(data | {"fingerprint": "another"}).encode())
    assert main(["report", f"--workdir={copy}"]) == 2
    assert "does not hold the images that the network was trained on" in capfd.readouterr().err
    mine = f"--config.data.cache_dir={cache_dir}"
    assert main(["report", f"--workdir={copy}", mine]) == 2
    assert "the network was trained on other images" in capfd.readouterr().err
    assert "the network was trained on other images" in (copy / "report.html").read_text()
    (copy / "report.html").unlink()
    other = data | {"class_names": [*data["class_names"][:9], "ten"]}
    forge(copy, data=json.dumps(other).encode())
    assert main(["report", f"--workdir={copy}", mine]) == 2
    assert "was trained on other data: sklearn:digits has other classes" in capfd.readouterr().err
    assert not (copy / "report.html").exists()


def test_a_line_that_is_cut_off_is_ignored_and_reported(copy, capfd):
    metrics = copy / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-30])
    assert main(["report", f"--workdir={copy}"]) == 2
    count = len(metrics.read_text().splitlines())
    assert f"metrics.jsonl is damaged in line {count}: this line is ignored" in capfd.readouterr().err
    assert f"is damaged in line {count}" in (copy / "report.html").read_text()


def test_a_run_without_a_log_has_a_page(copy, capfd):
    shutil.rmtree(copy / "checkpoints")
    (copy / "metrics.jsonl").unlink()
    assert main(["report", f"--workdir={copy}"]) == 2
    assert "no training lines yet" in capfd.readouterr().err
    assert "Training has not started" in (copy / "report.html").read_text()


def test_too_many_classes_for_a_matrix_are_a_list_of_pairs(trained):
    facts = report_training.gather(Request(str(trained)), print)
    confusion = np.diag(np.full(31, 50))
    confusion[3, 30], confusion[2, 1] = 7, 4
    found = Mistakes(Result("test", 1, 1561, 0.5, 0.1, 0.0), confusion, 0, np.empty(0, int), np.empty(0, int))
    names = tuple(f"<class {i}>" for i in range(31))
    facts = dataclasses.replace(
        facts,
        data=dataclasses.replace(facts.data, class_names=names, class_words=names),
        tested=dataclasses.replace(facts.tested, mistakes=found),
    )
    assert facts.pairs == [
        ("<class 3>", "<class 30>", "7 of 57"),
        ("<class 2>", "<class 1>", "4 of 54"),
    ]
    page = report.render("training.html.jinja", facts)
    assert 'class="confusion"' not in page
    assert "&lt;class 30&gt;</td>" in page


def test_a_page_has_no_control_characters_whatever_the_classes_are_called(trained):
    facts = report_training.gather(Request(str(trained)), print)
    names = tuple(HOSTILE_NAMES[i % len(HOSTILE_NAMES)] for i in range(10))
    facts = dataclasses.replace(facts, data=dataclasses.replace(facts.data, class_words=names))
    page = report.render("training.html.jinja", facts)
    assert page.encode()
    assert not set("\x1b\x07\r\u202e\0") & set(page)
    assert "<script" not in page


def test_the_tint_of_a_cell_grows_with_its_share_of_the_row(trained):
    tested = report_training.gather(Request(str(trained)), print).tested
    counts = np.diag(np.full(10, 6))
    counts[0, 1], counts[5, 4], counts[5, 5] = 2, 5, 15  # a quarter of each
    counts[7, 8] = 2
    found = dataclasses.replace(tested, mistakes=dataclasses.replace(tested.mistakes, confusion=counts))
    assert [[count for count, _ in row] for row in found.matrix] == counts.tolist()
    assert found.matrix[0][1][1] == found.matrix[5][4][1] == found.matrix[7][8][1] > 0
    assert found.matrix[0][2][1] == 0


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_figure_3_as_a_picture(trained, kind, tmp_path, capfd):
    files = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for file in files:
        assert main(["report", f"--workdir={trained}", "--figure=3", f"--save={file}"]) == 0
    assert capfd.readouterr().out.split() == [str(file) for file in files]
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_figure_4_as_two_pictures(trained, tmp_path, capfd):
    assert main(["report", f"--workdir={trained}", "--figure=4", f"--save={tmp_path}/4.png"]) == 0
    searched, *files = capfd.readouterr().out.splitlines()
    count = restore(trained).data.splits["train"]
    assert searched == f"searched {count:,} of {count:,} training images"
    assert files == [f"{tmp_path}/4-left.png", f"{tmp_path}/4-right.png"]
    for side in ("left", "right"):
        with Image.open(tmp_path / f"4-{side}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_report_tables_prints_the_tables_of_the_paper(tmp_path, capfd):
    assert main(["report", "--tables", f"--workdir={tmp_path}"]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["CNN", "37.5", "17.0", "not", "run", "not", "run"] in lines
    assert ["7", "CNNs*", "36.7", "15.4", "15.3", "not", "run", "not", "run"] in lines
    sweep = f"not run: alexnet-jax sweep --config=tables:ilsvrc2012 --workdir={tmp_path}/ilsvrc2012"
    assert sweep.split() in lines


def test_images_in_a_page_are_reduced_and_keep_their_colours():
    small = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    np.testing.assert_array_equal(decoded(report.image_uri(small)), small)
    kernels = np.linspace(0, 1, 300 * 100 * 3).reshape(300, 100, 3)
    np.testing.assert_allclose(decoded(report.image_uri(kernels)), 255 * kernels, atol=0.51)
    rgb = (10, 200, 90)
    photograph = np.full((256, 256, 3), rgb, np.uint8)
    uri = report.image_uri(photograph)
    assert uri.startswith("data:image/jpeg")
    shown = decoded(uri)
    assert shown.shape == (192, 192, 3)
    np.testing.assert_allclose(shown, np.broadcast_to(rgb, shown.shape), atol=6)


def decoded(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--step=11"], "no checkpoint 11"),
        (["--step=some"], "--step is 'some'"),
        (["--split=dev"], "no split 'dev': sklearn:digits has train, test, validation"),
        (["--views=3"], "--views is 3"),
        (["--save=/nowhere/p.html"], "--save=/nowhere/p.html can't be written"),
        (["--save=p.txt"], "--save=p.txt: the name must end in .html"),
        (["--config.seed=1"], "config.seed can't change after training: report takes only data.source"),
        (["--figure=2", "--save=2.png"], "print it with alexnet-jax train --dry_run"),
        (["--figure=5", "--save=5.png"], "--figure is 5, but must be 1, 3 or 4"),
        (["--figure=3"], "--figure=3 needs --save=FILE.png, .svg or .pdf"),
        (["--figure=3", "--save=3.gif"], "--figure=3 needs --save=FILE.png, .svg or .pdf"),
        (["--figure=1", "--save=1.png"], "holds no sweep"),
        (["--figure=3", "--save=3.png", "--views=10"], "--figure=3 takes no --views: remove it"),
        (["--figure=4", "--save=4.png", "--split=train"], "--figure=4 takes no --split: remove it"),
        (["--figure=4", "--save=4.png", "--config.data.cache_dir=none"], "is not prepared in"),
        (["more"], "report takes only flags"),
    ],
)
def test_user_errors_are_one_line(trained, args, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["report", f"--workdir={trained}", *args]) == 2
    err = capfd.readouterr().err
    assert message in err
    assert len(error_lines(err)) == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_or_empty_folder_is_one_line(tmp_path, capfd):
    assert main(["report", f"--workdir={tmp_path}/none"]) == 2
    assert f"there is no folder {tmp_path}/none" in capfd.readouterr().err
    assert main(["report", f"--workdir={tmp_path}"]) == 2
    assert "holds neither a training nor a sweep" in capfd.readouterr().err
    assert main(["report"]) == 2
    assert "--workdir=DIR is missing" in capfd.readouterr().err


def test_data_without_a_test_split_has_a_page_without_a_test(tiny, five_classes, tmp_path, capsys):
    tiny.data.source, tiny.data.validation, tiny.num_steps = five_classes, 0.0, 1
    train(tiny, str(tmp_path / "w"))
    capsys.readouterr()
    assert main(["report", f"--workdir={tmp_path / 'w'}"]) == 2
    assert "has only images for training" in capsys.readouterr().err
    text = (tmp_path / "w" / "report.html").read_text()
    assert "Figure 3" in text
    assert "Figure 4" not in text
    assert main(["report", f"--workdir={tmp_path / 'w'}", "--split=train"]) == 0
    assert "Mistakes with the least probable right class" in (tmp_path / "w" / "report.html").read_text()


def test_class_names_are_escaped_in_the_page(copy):
    info = json.loads((copy / "data.json").read_text())
    info["class_words"] = ['"><img src=x onerror=alert(1)>'] * 10
    forge(copy, data=json.dumps(info).encode())
    assert main(["report", f"--workdir={copy}"]) == 0
    text = (copy / "report.html").read_text()
    assert "onerror" in text
    assert "<img src=x" not in text
