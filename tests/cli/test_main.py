"""The command line: a mistake of the user is one line and status 2, and nothing is overwritten."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from PIL import Image

from alexnet_jax.cli.main import main
from alexnet_jax.cli.verbs import VERBS
from alexnet_jax.training.workdir import read_workdir
from tests.conftest import CONFIGS, RECIPES, error_lines

TINY = f"--config={RECIPES / 'tiny.py'}"
TRAIN = ["train", TINY, "--workdir=W"]


def refused(capfd, *args):
    status = main(args)
    err = capfd.readouterr().err
    assert status == 2
    assert err.count("\n") == 1
    assert err.startswith("alexnet-jax: ")
    return err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian"], "no verb trian (did you mean train?)"),
        (["train"], "--config=RECIPE is missing"),
        (["train", TINY], "--workdir=DIR is missing"),
        (["train", TINY, "--workdr=x"], "workdr"),
        ([*TRAIN, "--num_epochs=3"], "flag 'num_epochs': did you mean --config.num_epochs?"),
        ([*TRAIN, "extra"], "takes only flags: remove 'extra'"),
        (["train", "--config=nothere.py", "--workdir=W"], "no config file nothere.py"),
        (["train", f"{TINY}:nothere", "--workdir=W"], "no variant nothere"),
        (["train", f"--config={CONFIGS}/alexnet.py:owt,no_lrn", "--workdir=W"], "contradict each other"),
        (["train", "--config=digts", "--workdir=W"], "no recipe digts (did you mean digits?)"),
        ([*TRAIN, "--config.learning.rate=3"], "it is called optimizer.learning_rate now"),
        ([*TRAIN, "--config.batch_sise=3"], "batch_sise does not exist (did you mean batch_size"),
        ([*TRAIN, "--config.learning.rat=3"], "did you mean optimizer.learning_rate"),
        ([*TRAIN, "--config.batch_size=many"], "batch_size takes a whole number, not 'many' (currently"),
        ([*TRAIN, "--config.batch_size=1.5"], "takes a whole number, not '1.5'"),
        ([*TRAIN, "--config.optimizer.learning_rate=fast"], "takes a number, not 'fast'"),
        ([*TRAIN, "--config.num_steps=abc"], "config.num_steps takes a whole number, not 'abc'"),
        ([*TRAIN, "--config.mesh=(1,2"], "mesh takes numbers in parentheses, such as (1, 2), not '(1,2'"),
        ([*TRAIN, "--config.data.flip=7"], "takes true or false, not '7'"),
        ([*TRAIN, "--config.optimizer=7"], "optimizer does not exist"),
        ([*TRAIN, "--config.mesh=(a,b)"], "config.mesh"),
        ([*TRAIN, "--config.batch_size"], "has no value"),
        ([*TRAIN, "--config.net.layers=3"], "only fields of layers can be overridden"),
        ([*TRAIN, "--config.optimizer.layers.conv9.learning_rate=1"], "conv9 is not a layer with weights"),
        ([*TRAIN, "--config.optimizer.layers.conv1.learning_rate=fast"], "conv1.learning_rate is fast"),
        ([*TRAIN, "--config.data.color_noise_epochs=inf"], "config.data.color_noise_epochs is inf"),
        ([*TRAIN, "--config.data.validation=1.5"], "config.data.validation is 1.5"),
        ([*TRAIN, "--config.optimizer.learning_rate", "-1"], "config.optimizer.learning_rate is -1.0"),
        ([*TRAIN, "--config.optimizer.learning_rate=-1"], "config.optimizer.learning_rate is -1.0"),
        ([*TRAIN, "--config.optimizer.learning_rate=nan"], "config.optimizer.learning_rate is nan"),
        ([*TRAIN, "--config.data.source=tfds:cifar11"], "did you mean cifar10"),
        ([*TRAIN, "--config.batch_size=9", "--config.mesh=(2,1)"], "can't be split over 2"),
        (["prepare", TINY, "--workdir=W"], "workdir"),
        (["recipes", "--config.seed=1"], "recipes takes no --config.KEY=VALUE: remove --config.seed=1"),
        (["recipes", "tiny"], "recipes takes only flags: remove 'tiny'"),
        (["report", "--workdir=W", "--tables", "--config.seed=1"], "--tables takes only --workdir"),
        (["evaluate"], "--workdir=DIR is missing"),
        (["evaluate", "--workdir=W"], "W is no workdir"),
        (["evaluate", "--workdir=W", "--views=5"], "--views is 5"),
        (["evaluate", "--workdir=W", "--views=ten"], "ten"),
    ],
    ids=lambda x: " ".join(x)[-40:] if isinstance(x, list) else "",
)  # fmt: skip
def test_mistakes_are_one_line_with_status_2(args, message, capfd, tmp_path, monkeypatch, cache_dir):
    monkeypatch.chdir(tmp_path)
    if args[0] == "train":
        args = [*args, f"--config.data.cache_dir={cache_dir}"]
    assert message in refused(capfd, *args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--step=11"], "no checkpoint 11"),
        (["--split=dev"], "no split 'dev': sklearn:digits has train, test, validation"),
        (["--config.batch_size=3"], "batch_size can't change after training: evaluate takes only data."),
        (["--config.data.crop_size=5"], "config.data.crop_size can't change after training"),
        (["--config.data.encoding=foo"], "config.data.encoding is 'foo'"),
        (["--json=/nowhere/r.json"], "can't be written"),
        (["--data.source=x"], "'data.source': did you mean --config.data.source?"),
        (["--num_epochs=3"], "Unknown command line flag 'num_epochs'\n"),
    ],
)
def test_evaluate_refuses_what_does_not_exist_or_match(trained, args, message, capfd):
    assert message in refused(capfd, "evaluate", f"--workdir={trained}", *args)


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2.00GiB.\nStats:\n", "2.15 GB needed: "),
        ("INTERNAL: Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR", "probably uses the GPU"),
    ],
)
def test_a_lack_of_device_memory_is_reported_in_one_line(
    trained, tmp_path, cache_dir, monkeypatch, verb, text, message, capfd
):
    def fail(*args, **options):
        raise jax.errors.JaxRuntimeError(text)

    monkeypatch.setattr("alexnet_jax.loops.train.new_state", fail)
    monkeypatch.setattr("alexnet_jax.training.restored.Restored.log_probabilities", fail)
    Image.new("RGB", (8, 8)).save(tmp_path / "photograph.png")
    args = {
        "train": [TINY, f"--workdir={tmp_path / 'w'}", f"--config.data.cache_dir={cache_dir}"],
        "evaluate": [f"--workdir={trained}"],
        "predict": [f"--workdir={trained}", str(tmp_path / "photograph.png")],
    }
    assert main([verb, *args[verb]]) == 1
    (line,) = error_lines(capfd.readouterr().err)
    assert message in line


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libx.so: failed to map segment from shared object"),
    ],
    ids=repr,
)
def test_a_lack_of_memory_or_threads_is_reported_in_one_line(error, monkeypatch, capfd):
    def fail(args):
        raise error

    monkeypatch.setitem(VERBS, "recipes", SimpleNamespace(run=fail))
    assert main(["recipes"]) == 1
    assert capfd.readouterr().err.startswith(
        "alexnet-jax: memory or threads have run out: end other programs"
    )


def test_parameters_that_do_not_fit_are_reported_in_one_line(tmp_path, cache_dir):
    """The error is not simulated: no machine has this much memory."""
    recipe = (RECIPES / "tiny.py").read_text()
    (tmp_path / "huge.py").write_text(recipe.replace("units=16", "units=2**36"))
    command = [sys.executable, "-m", "alexnet_jax", "train", f"--config={tmp_path / 'huge.py'}"]
    paths = [f"--workdir={tmp_path / 'w'}", f"--config.data.cache_dir={cache_dir}"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = error_lines(done.stderr)
    assert re.search(r"out of memory on cpu: [\d.]+ TB needed: use more devices, or devices with more", line)


def test_a_workdir_or_a_file_that_cannot_exist_is_refused(trained, tmp_path, cache_dir, capfd):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    train = ["train", TINY, f"--config.data.cache_dir={cache_dir}"]
    dangling = f"{tmp_path}/dangling is a link to {tmp_path}/nowhere, which does not exist"
    for workdir, message in (
        ("/proc/w", "the workdir /proc/w can't be written"),
        (tmp_path / ("n" * 256), "File name too long"),
        (tmp_path / "loop", "is a link to loop"),
        (tmp_path / "dangling", dangling),
        (tmp_path / "dangling" / "w", dangling),
    ):
        assert message in refused(capfd, *train, f"--workdir={workdir}")
    long = "n" * 256
    assert "File name too long" in refused(
        capfd, "train", TINY, "--workdir=W", f"--config.data.cache_dir={long}"
    )
    assert "no recipe nnn" in refused(capfd, "train", f"--config={long}", "--workdir=W")
    evaluate = ["evaluate", f"--workdir={trained}"]
    for path, message in (
        (long, "(File name too long)"),
        ("/proc/x", "(No such file"),
        (tmp_path, "(Is a directory)"),
    ):
        assert f"--json={path} can't be written {message}" in refused(capfd, *evaluate, f"--json={path}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "loop"]


def test_a_folder_in_place_of_a_file_is_named(trained, monkeypatch, capfd):
    def fail(*args, **options):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", "sweeps/a/evaluation.json")

    monkeypatch.setattr("alexnet_jax.loops.evaluate.evaluate", fail)
    assert main(["evaluate", f"--workdir={trained}"]) == 2
    (line,) = error_lines(capfd.readouterr().err)
    assert line == "alexnet-jax: sweeps/a/evaluation.json is a folder, but must be a file: remove it"


def test_a_message_keeps_the_spaces_of_a_name(capfd):
    assert "two  words is no workdir" in refused(capfd, "evaluate", "--workdir=two  words")


def test_evaluate_writes_json(trained, tmp_path, capfd):
    status = main(["evaluate", f"--workdir={trained}", "--views=10", f"--json={tmp_path / 'r.json'}"])
    assert status == 0
    assert "360 examples, 10 view(s), 1 network(s)" in capfd.readouterr().out
    record = json.loads((tmp_path / "r.json").read_text())
    assert list(record) == ["split", "views", "examples", "loss", "top1_error", "top5_error", "checkpoints"]
    assert record["checkpoints"] == [{"workdir": str(trained), "step": 40}]


def test_evaluate_takes_several_workdirs_and_data_from_elsewhere(trained, tmp_path, capfd):
    status = main(
        ["evaluate", f"--workdir={trained}", f"--workdir={trained}", "--step=best", "--split=validation",
         f"--config.data.cache_dir={tmp_path}", "--config.data.source=sklearn:digits"]
    )  # fmt: skip
    assert status == 0
    assert "validation: 144 examples, 1 view(s), 2 network(s)" in capfd.readouterr().out
    assert list(tmp_path.glob("sklearn-digits-*/data.json"))


def test_evaluate_and_report_obey_no_place_that_a_workdir_names(trained, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))  # now the cache of the run is elsewhere
    theirs = read_workdir(trained)[0].data.cache_dir
    line = (
        f"sklearn:digits is not prepared in {tmp_path}/home/alexnet-jax: run alexnet-jax prepare; or, if you"
        " trust what the workdir names, add"
    )
    flags = f"--config.data.cache_dir={theirs}", "--config.data.source=sklearn:digits"
    assert f"{line} {flags[0]} or {flags[1]}\n" in refused(capfd, "evaluate", f"--workdir={trained}")
    assert main(["report", f"--workdir={trained}", f"--save={tmp_path}/page.html"]) == 2
    assert f"{line} {flags[0]};" in capfd.readouterr().err  # a report does not prepare images
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]
    for flag in flags:
        assert main(["evaluate", f"--workdir={trained}", flag]) == 0
    assert main(["evaluate", f"--workdir={trained}"]) == 0  # the second flag has filled the default folder


def test_evaluate_refuses_data_with_other_classes(trained, tmp_path, capfd):
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (9, 9), (20 * i, 0, 0)).save(tmp_path / "images" / name / f"{i}.png")
    args = [f"--config.data.source=folder:{tmp_path}/images", f"--config.data.cache_dir={tmp_path}"]
    assert main(["evaluate", f"--workdir={trained}", *args]) == 2
    assert "was trained on other classes than folder:" in capfd.readouterr().err
    assert main(["train", TINY, f"--workdir={trained}", *args]) == 2  # a run does not resume with them either
    assert "was trained on other data" in capfd.readouterr().err


def test_prepare_checks_a_cache_and_rebuilds_it_with_force(tmp_path, capfd):
    args = ["prepare", TINY, f"--config.data.cache_dir={tmp_path}"]
    assert main(args) == 0
    assert main(args) == 0
    assert "nothing to prepare: the cache exists, and every checksum is right" in capfd.readouterr().out
    (cut,) = tmp_path.glob("*/train-00000.images")
    cut.write_bytes(b"")
    assert main(args) == 2
    assert (
        "train-00000.images has 0 of 248,256 bytes): rebuild it with alexnet-jax prepare --force"
        in capfd.readouterr().err
    )
    assert main([*args, "--force"]) == 0
    assert main(args) == 0


def test_prepare_refuses_a_cache_whose_images_have_changed(tmp_path, capfd):
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (9, 9), (20 * i, 0, 0)).save(tmp_path / "images" / name / f"{i}.png")
    args = [f"--config.data.source=folder:{tmp_path}/images", f"--config.data.cache_dir={tmp_path}/cache"]
    assert main(["prepare", TINY, *args]) == 0
    (tmp_path / "images" / "dog" / "9.png").unlink()
    assert main(["prepare", TINY, *args]) == 2
    assert "the cache was built from" in capfd.readouterr().err


def test_prepare_prints_the_splits_of_the_cache(tmp_path, capfd):
    assert main(["prepare", TINY, f"--config.data.cache_dir={tmp_path}"]) == 0
    out = capfd.readouterr().out
    assert "train 1,293, test 360, validation 144 images of 8x8, raw, 10 classes" in out


def test_help_does_not_wait_for_the_libraries():
    code = """if True:
        import sys
        from alexnet_jax.cli.main import main
        assert main(["--help"]) == main(["train", "--help"]) == 0
        slow = {"jax", "flax", "numpy", "orbax", "sklearn", "tensorflow_datasets"} & set(sys.modules)
        sys.exit(str(slow) if slow else 0)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: alexnet-jax VERB")


def test_a_closed_pipe_is_not_an_error():
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does after its last line
    command = [sys.executable, "-m", "alexnet_jax", "train", "--help"]
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")


def test_recipes_are_listed_from_any_folder_without_jax(tmp_path):
    code = """if True:
        import sys
        from alexnet_jax.cli.main import main
        status = main(["recipes"])
        sys.exit(status or "jax" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    train, sweep = done.stdout.split("for sweep: ")
    assert "\n  digits     Handwritten digits through a small AlexNet" in train
    assert "no_lrn" in train
    assert "\n  ablations  The ablations of the paper" in sweep
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_path_may_begin_with_a_tilde(tmp_path, monkeypatch, cache_dir, capfd):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text((RECIPES / "tiny.py").read_text())
    Path(cache_dir).mkdir(parents=True, exist_ok=True)  # no other test may have made it yet
    (tmp_path / "cache").symlink_to(cache_dir)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    data = "--config.data.cache_dir=~/cache"
    train = ["train", "--config=~/mine.py", "--config.num_steps=2", data]
    assert main([*train, "--workdir=~/first"]) == 0
    assert main([*train, "--workdir=~/second", "--config.init_from=~/first"]) == 0
    assert main(["evaluate", "--workdir=~/second", "--json=~/result.json", data]) == 0
    assert main(["report", "--workdir=~/second", "--save=~/page.html", data]) == 0
    Image.new("RGB", (8, 8)).save(tmp_path / "photograph.png")
    predict = [
        "predict",
        "--workdir=~/second",
        "~/photograph.png",
        "--json=~/classes.json",
        "--save=~/drawn.png",
    ]
    assert main(predict) == 0
    written = ["result.json", "page.html", "classes.json", "drawn.png"]
    assert all((tmp_path / name).is_file() for name in written)
    assert not list(Path.cwd().iterdir())  # no folder is named ~


def test_words_of_the_command_line_do_not_control_the_terminal(capfd):
    for args in (["\x1b[31m"], ["evaluate", "--workdir=\x1b]0;x\x07"], ["train", "--config=\x9b.py"]):
        assert not set("\x1b\x07\x9b") & set(refused(capfd, *args))


def test_no_verb_has_status_2():
    assert main([]) == 2


@pytest.mark.parametrize("verb", ["train", "evaluate", "prepare"])
def test_help_lists_a_verbs_flags(verb, capfd):
    assert main([verb, "--help"]) == 0
    printed = capfd.readouterr().out
    assert "--config: NAME[:VARIANT,...]" in printed or verb == "evaluate"
    assert ("--config.data.crop_size=224" in printed) == (verb != "evaluate")
