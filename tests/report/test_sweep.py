"""The page of a sweep, from files written by hand, and figure 1 from known training errors."""

import dataclasses
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from etils import epath
from PIL import Image

from alexnet_jax import UserError
from alexnet_jax.cli.main import main
from alexnet_jax.paper import figure1
from alexnet_jax.paper.charts import Series, curves
from alexnet_jax.report.page import render
from alexnet_jax.report.sweep import gather
from alexnet_jax.sweep import directory as sweep_directory
from alexnet_jax.sweep.spec import Ensemble, Member, Published, Sweep
from tests.conftest import HOSTILE_NAMES, error_lines

ABLATIONS = Sweep(
    (
        Member("whole", "a.py"),
        Member("no LRN & <b>", "a.py:no_lrn", published=Published("a set", 1.4, 1.2, worse=True)),
        Member("pool2", "a.py:pool2"),
        Member("failing", "a.py:failing", seeds=(0,)),
    ),
    baseline="whole",
    seeds=(0, 1),
    ensembles=(Ensemble("all", ("whole", "pool2")),),
)
FIGURE1 = Sweep(
    tuple(
        Member(f"{word} {rate}", f"cifar10.py:figure1_{word}", {"optimizer.learning_rate": rate}, curve=curve)
        for rate in (0.001, 0.002)
        for word, curve in (("relu", "ReLU"), ("tanh", "tanh"))
    ),
    figure=1,
)


def write_sweep(directory, sweep):
    directory.mkdir(exist_ok=True)
    sweep_directory.write(epath.Path(directory), "ablations:cifar10", sweep, ["--config.num_epochs=3.0"])


def write_run(directory, errors, rate=0.01, tested=None, per_epoch=2):
    """Write a log with ``per_epoch`` training errors in each epoch, and an evaluation after each of them."""
    directory.mkdir(exist_ok=True)
    with (directory / "metrics.jsonl").open("w") as file:
        for i, error in enumerate(errors, 1):
            position = {"step": 10 * i, "epoch": i / per_epoch}
            numbers = {"loss": 2 * error, "top1_error": error}
            line = {"kind": "train", **position, **numbers, "learning_rate": rate, "images_per_second": 9.0}
            file.write(json.dumps(line) + "\n")
            where = {"kind": "eval", "split": "validation", "views": 1, "examples": 50, **position}
            file.write(json.dumps({**where, **numbers, "top5_error": error / 2}) + "\n")
    if tested is not None:
        write_evaluation(directory, tested)


def write_evaluation(directory, error):
    directory.mkdir(exist_ok=True)
    found = {"split": "test", "views": 10, "examples": 1000, "loss": 1.0, "top1_error": error}
    text = json.dumps(found | {"top5_error": error / 2, "checkpoints": []})
    (directory / "evaluation.json").write_text(text)


def write_ablations(directory):
    """Write a sweep with finished, failed and unstarted networks."""
    write_sweep(directory, ABLATIONS)
    for name, tested in (("whole-seed0", 0.20), ("whole-seed1", 0.22), ("pool2-seed0", 0.19)):
        write_run(directory / name, [0.5, 0.4, 0.3], tested=tested)
    for seed, tested in ((0, 0.23), (1, 0.25)):
        write_run(directory / f"no-LRN-b-seed{seed}", [0.6, 0.5, 0.4], tested=tested)
    (directory / "failing-seed0").mkdir()
    (directory / "failing-seed0" / "failed.txt").write_text("the loss is nan\n")
    (directory / "pool2-seed0" / "report.html").write_text("")


@pytest.fixture
def ablations(tmp_path):
    write_ablations(tmp_path / "sweep")
    return epath.Path(tmp_path / "sweep")


def test_changes_are_bars_with_their_standard_error(ablations):
    facts = gather("W", ablations, ablations)
    whole, no_lrn, pool2, failing, ensemble = facts.bars
    assert whole is failing is ensemble is None
    # No LRN: 24 - 21 = 3 points, with a standard error of sqrt(2/2 + 2/2). pool2: 19 - 21 = -2, one seed.
    scale = 96 / (3 + 2**0.5 + 2)
    assert no_lrn.zero == pool2.zero == pytest.approx(2 + 2 * scale, abs=0.01)
    assert no_lrn.end - no_lrn.zero == pytest.approx(3 * scale, abs=0.02)
    assert no_lrn.high - no_lrn.low == pytest.approx(2 * 2**0.5 * scale, abs=0.02)
    assert no_lrn.published - no_lrn.zero == pytest.approx(1.4 * scale, abs=0.02)
    assert pool2.end - pool2.zero == pytest.approx(-2 * scale, abs=0.02)
    assert (pool2.low, pool2.high, pool2.published) == (None, None, None)
    assert facts.command == "alexnet-jax sweep --workdir=W --config=ablations:cifar10 --config.num_epochs=3.0"


def test_each_network_has_a_state_and_a_link(ablations):
    runs = {run.name: run for run in gather("W", ablations, ablations.parent).runs}
    assert [run.state for run in runs.values()] == ["tested"] * 5 + ["to do", "failed"]
    assert (runs["whole-seed0"].epoch, runs["whole-seed0"].error) == (1.5, 0.3)
    assert runs["pool2-seed0"].report == "sweep/pool2-seed0/report.html"
    assert runs["whole-seed0"].report is None


def test_the_page_of_a_sweep(ablations, capfd):
    assert main(["report", f"--workdir={ablations}"]) == 0
    assert capfd.readouterr().out.strip() == f"{ablations}/report.html"
    page = (ablations / "report.html").read_text()
    assert "no LRN &amp; &lt;b&gt;" in page
    assert "<b>" not in page
    assert "failing-seed0: the loss is nan" in page
    assert 'href="pool2-seed0/report.html"' in page
    assert "24.00 ± 1.41" in page
    assert "+3.00 ± 1.41" in page
    assert "5 of 7 trainings are complete and tested, on 1,000 images of test, 10 view(s)" in page


def test_the_page_begins_with_the_best_row_and_the_next_command(ablations):
    facts = gather("runs/W/", ablations, ablations)
    page = render("sweep.html.jinja", facts)
    text = " ".join(re.sub("<[^>]*>", "", page[page.index("<header>") : page.index("</header>")]).split())
    assert (
        "The lowest top-1 error is 19.00\N{NO-BREAK SPACE}%, by pool2; the baseline whole has 21.00 ± 1.41"
        in (text.replace(" %", "\N{NO-BREAK SPACE}%"))
    )
    assert facts.next_step == (
        "To run what is missing or failed, run the sweep again:",
        "alexnet-jax sweep --workdir=runs/W/ --config=ablations:cifar10 --config.num_epochs=3.0",
    )
    assert facts.next_step[1] in text
    write_run(ablations / "pool2-seed1", [0.5], tested=0.19)
    (ablations / "failing-seed0" / "failed.txt").unlink()
    write_run(ablations / "failing-seed0", [0.5], tested=0.19)
    assert gather("runs/W/", ablations, ablations).next_step[1] == facts.next_step[1]  # to test the ensemble
    write_evaluation(ablations / "all", 0.18)
    facts = gather("runs/W/", ablations, ablations)
    assert facts.best.name == "all"
    assert facts.next_step[1] == "alexnet-jax report --workdir=runs/W/whole-seed0"


def test_a_sweep_that_has_not_started_has_a_page(tmp_path):
    write_sweep(tmp_path / "sweep", FIGURE1)
    assert main(["report", f"--workdir={tmp_path}/sweep"]) == 0
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "0 of 4 trainings are complete" in page
    assert "Figure 1" not in page


def write_rates(directory):
    """Write a sweep: ReLUs reach 25 % after 2.5 and 1.5 epochs, tanh with its second rate alone, after 6."""
    write_sweep(directory, FIGURE1)
    for name, rate, epochs in (
        ("relu-0.001", 0.001, [0.8, 0.4, 0.1, 0.05]),  # 2 + 0.15 / 0.3
        ("relu-0.002", 0.002, [0.3, 0.2, 0.2, 0.1]),  # 1 + 0.05 / 0.1
        ("tanh-0.001", 0.001, [0.9, 0.8, 0.7]),
        ("tanh-0.002", 0.002, [0.9, 0.8, 0.7, 0.6, 0.5, 0.25]),
    ):
        halves = [error for each in epochs for error in (each + 0.01, each - 0.01)]
        write_run(directory / f"{name}-seed0", [*halves, 0.7], rate, tested=0.5)  # and half an epoch more


@pytest.fixture
def rates(tmp_path):
    write_rates(tmp_path / "sweep")
    return epath.Path(tmp_path / "sweep")


def test_the_fastest_learning_rate_of_each_network_and_their_ratio(rates):
    facts = figure1.gather(rates, FIGURE1)
    relu, tanh = facts.nets
    assert (relu.name, tanh.name) == ("ReLU", "tanh")
    assert [run.reached for run in relu.runs] == pytest.approx([2.5, 1.5])
    assert (relu.first.rate, tanh.first.rate) == (0.002, 0.002)
    assert tanh.runs[0].reached is None
    assert facts.ratio == (pytest.approx(4), "tanh", "ReLU")
    assert facts.text().splitlines() == [
        "ReLU reaches 25 % training error after 1.5 epochs (learning rate 0.002, the largest of 2 tried)",
        "tanh reaches 25 % training error after 6.0 epochs (learning rate 0.002, the largest of 2 tried)",
        "tanh takes 4.0 times as many epochs as ReLU (the paper: six times, on CIFAR-10 with four layers)",
        "runs that never reach 25 % training error: tanh 0.001 (3 epochs)",
    ]


def test_the_fastest_learning_rate_is_that_of_the_mean_over_seeds(tmp_path):
    sweep = dataclasses.replace(FIGURE1, seeds=(0, 1))
    write_sweep(tmp_path, sweep)
    for name, *seeds in (
        ("relu-0.001", [0.5, 0.25, 0.1], [0.5, 0.25, 0.1]),
        ("relu-0.002", [0.2, 0.1, 0.1, 0.1], [0.9, 0.9, 0.5, 0.1]),  # one seed is fast, the other slow
        ("tanh-0.001", [0.5, 0.5, 0.4, 0.3], [0.5, 0.5, 0.4, 0.2]),
        ("tanh-0.002", [0.9, 0.9], []),
    ):
        for seed, errors in enumerate(seeds):
            halves = [error for each in errors for error in (each, each)]
            rate = float(name[-5:])
            write_run(tmp_path / f"{name}-seed{seed}", halves, rate, tested=0.5 if errors else None)
    assert figure1.gather(epath.Path(tmp_path), sweep).text().splitlines() == [
        "ReLU reaches 25 % training error after 2.0 epochs (learning rate 0.001, the smallest of 2 tried)",
        "tanh reaches 25 % training error after 4.0 epochs (learning rate 0.001, the only one tried)",
        "tanh takes 2.0 times as many epochs as ReLU (the paper: six times, on CIFAR-10 with four layers)",
        "not complete, so these results may change: tanh 0.002",
    ]


def test_a_network_that_never_reaches_25_percent_has_no_ratio(rates):
    write_run(rates / "tanh-0.002-seed0", [0.9] * 8, 0.002, tested=0.5)
    facts = figure1.gather(rates, FIGURE1)
    assert facts.ratio is None
    assert facts.nets[1].first is None
    assert "tanh never reaches 25 % training error in 4 epochs (2 learning rates)" in facts.text()
    (rates / "tanh-0.002-seed0" / "evaluation.json").unlink()  # it is still training
    assert figure1.gather(rates, FIGURE1).text().splitlines()[1:] == [
        "tanh has not reached 25 % training error in 4 epochs (2 learning rates)",
        "not complete, so these results may change: tanh 0.002",
    ]


def test_figure_1_as_a_picture_and_on_the_page(rates, tmp_path, capfd):
    assert main(["report", f"--workdir={rates}", "--figure=1", f"--save={tmp_path}/1.png"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[2].startswith("tanh takes 4.0 times")
    assert out[-1] == f"{tmp_path}/1.png"
    with Image.open(tmp_path / "1.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    assert main(["report", f"--workdir={rates}"]) == 0
    assert "tanh takes 4.0 times as many epochs" in (rates / "report.html").read_text()


def test_relus_are_solid_tanh_is_dashed_and_slower_rates_are_thin(rates):
    (ax,) = figure1.draw(figure1.gather(rates, FIGURE1)).axes
    level, *lines = (line for line in ax.lines if line.get_linestyle() != "None")
    assert set(level.get_ydata()) == {0.25}
    drawn = [(line.get_linestyle(), line.get_linewidth() > 1) for line in lines]
    assert drawn == [("-", False), ("-", True), ("--", False), ("--", True)]
    np.testing.assert_allclose(lines[1].get_ydata(), [0.3, 0.2, 0.2, 0.1])
    np.testing.assert_array_equal(lines[1].get_xdata(), [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("errors", "at"), [([0.5, 0.2], 1 + 0.25 / 0.3), ([0.2], 1), ([0.5, 0.3], None), ([0.3, 0.25, 0.1], 2)]
)
def test_where_a_curve_first_falls_to_a_level(errors, at):
    assert figure1.first_at(np.array(errors), 0.25) == (at if at is None else pytest.approx(at))


def test_user_errors_are_one_line(ablations, tmp_path, capfd):
    write_sweep(tmp_path / "new", ABLATIONS)
    with pytest.raises(UserError, match="has trained for an epoch, which figure 1 needs"):
        figure1.gather(epath.Path(tmp_path / "new"), FIGURE1)
    for args, message in (
        (["--figure=1", "--save=1.png"], "holds a sweep that does not reproduce figure 1"),
        (
            ["--figure=3", "--save=3.png"],
            "figure 3 needs the workdir of one of its networks",
        ),
        (
            ["--config.data.cache_dir=x"],
            "the report of a sweep takes no --config.data.cache_dir=x: remove it",
        ),
        (["--views=10"], "the report of a sweep takes no --views: remove it"),
        (["--figure=1", "--save=1.png", "--step=20"], "--figure=1 takes no --step: remove it"),
    ):
        assert main(["report", f"--workdir={ablations}", *args]) == 2
        err = capfd.readouterr().err
        assert message in err
        assert len(error_lines(err)) == 1


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_drawings_are_well_formed_with_any_name(name, tmp_path):
    rates = {"optimizer.learning_rate": 0.01}
    curve = name.replace("\0", "")  # a sweep.json with a NUL is refused
    sweep = Sweep((Member("one", "cifar10.py", rates, curve=curve),), figure=1)
    write_sweep(tmp_path, sweep)
    write_run(tmp_path / "one-seed0", [0.4, 0.3, 0.2, 0.1], tested=0.1)
    facts = gather(str(tmp_path), epath.Path(tmp_path), epath.Path(tmp_path))
    ElementTree.fromstring(facts.figure1_svg)
    ElementTree.fromstring(curves("some", name, [Series(name, [0, 1], [0.5, 0.2], 0)]).svg)
    page = render("sweep.html.jinja", facts)
    assert page.encode()
    assert not set("\x1b\x07\r\u202e\0") & set(page)
