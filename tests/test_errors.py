"""The page of messages and statuses, which is generated from the source."""

import re
import runpy
import signal

import pytest

from alexnet_jax import errors
from alexnet_jax.cli.main import main
from alexnet_jax.runtime.stopping import STOPPING
from tests.conftest import RECIPES, ROOT

PAGE = ROOT / "docs" / "errors.md"
TINY = f"--config={RECIPES / 'tiny.py'}"


@pytest.fixture
def script():
    """The functions and constants of docs/make_errors.py, which a test may change."""
    return runpy.run_path(str(ROOT / "docs" / "make_errors.py"))["page"].__globals__


def test_the_page_matches_the_source(script):
    assert PAGE.read_text() == script["page"](), "run `make docs`"


def test_the_page_has_every_status():
    table = PAGE.read_text().partition("## Statuses")[2].partition("In the tables below")[0]
    rows = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    numbers = {int(number) for row in rows for number in row.split(",")}
    classes = {value.status for value in vars(errors).values() if hasattr(value, "status")}
    killed = {128 + number for number in (signal.SIGABRT, signal.SIGKILL, signal.SIGPIPE)}
    assert numbers == {0} | classes | {128 + number for number in STOPPING} | killed


@pytest.mark.parametrize(
    "args",
    [
        ["trian"],
        ["train", "--config=none"],
        ["train", TINY],
        ["train", TINY, "--workdir=w", "--config.batch_size=0"],
        ["train", f"{TINY}:no", "--workdir=w"],
        ["train", TINY, "--workdir=s3://bucket/w"],
        ["train", TINY, "--workdir=w", "--config.mesh=(3, 3)"],
        ["train", TINY, "--workdir=w", "--config.data.source=folder:none"],
        ["evaluate", "--workdir=none"],
        ["predict", "--workdir=none", "x.png"],
        ["report", "--workdir=none", "--figure=2"],
        ["sweep", TINY, "--workdir=w"],
        ["plan", TINY, "--topology=v9:2x2"],
    ],
    ids=lambda args: " ".join(args[-2:])[-40:],
)
def test_a_message_is_on_the_page(args, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    status = main(args)
    line = capfd.readouterr().err.splitlines()[-1].removeprefix("alexnet-jax: ")
    rows = re.findall(r"^\| `(.*)` \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert [1 for text, code in rows if int(code) == status and re.fullmatch(pattern(text), line)], line


def pattern(text):
    """Return a regular expression for a message on the page."""
    varies = re.sub(r"\[[^\]]*\]|\([^()]* / [^()]*\)", "…", text)
    return re.escape(varies).replace("…", ".*")


def test_messages_are_read_from_the_source(script, tmp_path):
    module = tmp_path / "cli" / "x.py"
    module.parent.mkdir()
    (tmp_path / "errors.py").write_text("class UserError(Exception): ...\nclass Small(UserError): ...")
    module.write_text(
        """
WHERE = "on the disk"
def f(x):
    if x > 1:
        raise UserError(f"{x} is {'too large' if x else 'too small'}: take {x - 1}")
    error = Small(g(x))
    say(f"note: {x} is very odd")
    say("done")
    raise error
def g(x):
    return f"nothing like {x} is {WHERE}"
"""
    )
    script["SOURCE"] = tmp_path
    assert script["messages"]() == [
        ("cli/x.py", "… is (too large / too small): take …", "2"),
        ("cli/x.py", "nothing like … is on the disk", "2"),
        ("cli/x.py", "note: … is very odd", "note"),
    ]
    with pytest.raises(LookupError, match="no message contains"):
        script["page"]()
    script["ADVICE"].clear()
    assert "| `… is (too large / too small): take …` | 2 |  |\n" in script["page"]()
    module.write_text("raise UserError(from_elsewhere())")
    with pytest.raises(LookupError, match=r"cli/x.py: from_elsewhere\(\) has no text"):
        script["page"]()
    module.unlink()
    (tmp_path / "new.py").write_text("raise UserError('is it wrong')")
    with pytest.raises(LookupError, match="SECTIONS lacks"):
        script["page"]()
