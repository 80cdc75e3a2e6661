"""The output while a user waits: a line before JAX is imported, a line for each step, and a bar."""

import os
import pty
import re
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from PIL import Image

from alexnet_jax.data.dataset import open_cache
from alexnet_jax.runtime import progress
from alexnet_jax.training.restored import restore
from tests.conftest import RECIPES, STEPS

SWEEP = """
from alexnet_jax.sweep import Member, Sweep

def sweep(variants=""):
    return Sweep((Member("one", {recipe!r}, {{"num_steps": 1}}),), baseline="one", seeds=(0,))
"""


@pytest.fixture
def commands(trained, cache_dir, tmp_path):
    """The command line of each verb that makes a user wait."""
    image = open_cache(restore(trained).config.data, print).images["test"][:1][0]
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "sweep.py").write_text(SWEEP.format(recipe=str(RECIPES / "tiny.py")))
    tiny, cache = f"--config={RECIPES / 'tiny.py'}", f"--config.data.cache_dir={cache_dir}"
    return {
        "evaluate": ["evaluate", f"--workdir={trained}"],
        "predict": ["predict", f"--workdir={trained}", f"{tmp_path}/images"],
        "prepare": ["prepare", tiny, f"--config.data.cache_dir={tmp_path}/cache"],
        "verify": ["prepare", tiny, cache],
        "report": ["report", f"--workdir={trained}", f"--save={tmp_path}/page.html"],
        "sweep": ["sweep", f"--config={tmp_path}/sweep.py", f"--workdir={tmp_path}/sweep", cache],
    }


WITHOUT_JAX = """if True:
    import sys

    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name == "jax":
                sys.exit("refused")

    sys.meta_path.insert(0, Refuse())
    from alexnet_jax.cli.main import main
    main(sys.argv[1:])
"""


@pytest.mark.parametrize("verb", ["evaluate", "predict", "prepare", "verify", "report"])
def test_the_first_line_comes_before_jax_is_imported(commands, verb):
    command = [sys.executable, "-c", WITHOUT_JAX, *commands[verb]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    printed = done.stdout or done.stderr
    expected = {"prepare": "reading the list of images of", "verify": "verifying every byte of"}
    assert printed.startswith(expected.get(verb, "starting JAX\n")), done.stderr


@pytest.mark.parametrize("verb", ["evaluate", "predict", "report"])
def test_each_step_has_a_line_without_a_terminal(commands, verb):
    command = [sys.executable, "-m", "alexnet_jax", *commands[verb]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    printed = done.stdout if verb == "evaluate" else done.stderr
    steps = [line for line in printed.splitlines() if STEPS.fullmatch(line)]
    assert steps[0] == "starting JAX"
    assert steps[1].startswith("reading the last checkpoint of ")
    if verb != "predict":
        assert steps[2] == "evaluating 360 images of test, 1 view of each"
    if verb == "report":
        assert steps[3] == "searching 1,293 training images for the nearest to 5 images of test"
        assert len(done.stdout.splitlines()) == 1  # only the name of the page
    if verb != "evaluate":
        assert len(steps) == len(done.stderr.splitlines())  # no bar


def on_a_terminal(words):
    """Run a command whose standard error is a terminal; return both streams."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 100))
    read = []

    def collect():
        while True:
            try:
                chunk = os.read(parent, 10_000)
            except OSError:  # the terminal is closed
                return
            if not chunk:
                return
            read.append(chunk)

    process = subprocess.Popen(
        [sys.executable, "-m", "alexnet_jax", *words], stdout=subprocess.PIPE, stderr=child, text=True
    )
    os.close(child)
    reader = threading.Thread(target=collect)
    reader.start()
    out, _ = process.communicate(timeout=120)
    reader.join()
    os.close(parent)
    assert process.returncode == 0, out
    return out, b"".join(read).decode()


@pytest.mark.parametrize(
    ("verb", "bar"),
    [
        ("evaluate", r"test, compiling: +0%\|.*\| 0/360 "),
        ("predict", r"compiling: +0%\|.*\| 0/20 "),
        ("prepare", r"\| 0/1797 "),
        ("verify", r"verifying: +0%\|.*\| 0/11 "),
        ("report", r"neighbours: +0%\|.*\| 0/1293 "),
        pytest.param("sweep", r"100%\|.*\| 1/1 .*task", marks=pytest.mark.slow),
    ],
)
def test_a_terminal_shows_a_bar_with_counts(commands, verb, bar):
    out, err = on_a_terminal(commands[verb])
    assert re.search(bar, err), err
    assert "%|" not in out


def test_a_closed_pipe_is_not_an_error():
    """The reader has ended, as `tee` does after Ctrl-C."""
    read, write = os.pipe()
    os.close(read)
    script = "from alexnet_jax.runtime.progress import say; say('one'); say('two')"
    done = subprocess.run([sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_from_outside_do_not_control_the_terminal(capsys):
    progress.say("said\n\x1b[31m")
    progress.note("noted\r\x1b[31m")
    progress.complain("complained\n\u202e")
    progress.show("shown\x9b\nin two lines")
    captured = capsys.readouterr()
    assert captured.out == "said\\n\\x1b[31m\nshown\\x9b\nin two lines\n"
    assert captured.err == "noted\\r\\x1b[31m\nalexnet-jax: complained\\n\\u202e\n"


def test_lines_name_the_checkpoint_and_the_images():
    assert progress.reading("runs/a", "best") == "reading the best checkpoint of runs/a"
    assert progress.reading("runs/a", 4000) == "reading checkpoint 4000 of runs/a"
    assert (
        progress.evaluating(50_000, "validation", 10)
        == "evaluating 50,000 images of validation, 10 views of each"
    )


@pytest.mark.parametrize(("number", "printed"), [("0", ["starting JAX"]), ("1", [])])
def test_only_the_first_process_prints(number, printed, monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", number)
    monkeypatch.delitem(sys.modules, "jax")
    lines = []
    progress.starting(lines.append)
    assert lines == printed


def test_a_message_that_cannot_be_written_does_not_change_the_exit_status():
    for words, status in ((["predict"], 2), (["--version"], 0)):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "alexnet_jax", *words], stderr=full, stdout=subprocess.PIPE
            )
        assert done.returncode == status
