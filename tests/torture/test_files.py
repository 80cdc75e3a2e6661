"""Damaged files of a workdir and of a cache: a verb gives the right result, or one line that says why not."""

import json
import shutil

import pytest
from PIL import Image

from tests.conftest import RECIPES
from tests.odd_images import scene
from tests.torture.outcome import outcome_here

pytestmark = pytest.mark.slow


@pytest.fixture
def intact(trained, cache_dir, tmp_path):
    """A folder with a workdir and its cache."""
    shutil.copytree(trained, tmp_path / "intact" / "workdir")
    shutil.copytree(cache_dir, tmp_path / "intact" / "cache")
    Image.fromarray(scene()).save(tmp_path / "image.png")
    return tmp_path / "intact"


def damage(file, others, moments):
    """Change a file in one of several ways, and return which."""
    content = bytearray(file.read_bytes())
    start, stop = sorted(moments.randint(0, len(content)) for _ in range(2))
    how = moments.choice(["cut", "zero", "flip", "remove", "swap", "append", "empty", "folder"])
    match how:
        case "cut":
            del content[start:]
        case "zero":
            content[start:stop] = bytes(stop - start)
        case "flip" if content:
            content[moments.randrange(len(content))] ^= 1 << moments.randrange(8)
        case "swap":
            content = moments.choice(others).read_bytes()
        case "append":
            content += moments.randbytes(moments.choice([1, 100, 10_000]))
        case "empty":
            content.clear()
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "remove":
        file.write_bytes(content)
    return how


def commands(place):
    """Return the commands whose results are compared, by name."""
    workdir, cache = f"--workdir={place / 'workdir'}", f"--config.data.cache_dir={place / 'cache'}"
    image = place.parent / "image.png"
    return {
        "evaluate": ["evaluate", workdir, cache, f"--json={place / 'result.json'}"],
        "predict": ["predict", workdir, f"--json={place / 'result.json'}", str(image)],
        "resume": ["train", f"--config={RECIPES / 'tiny.py'}", workdir, cache, "--config.num_steps=60"],
        "prepare": ["prepare", f"--config={RECIPES / 'tiny.py'}", cache],
        "report": ["report", workdir, cache, f"--save={place / 'report.html'}"],
    }


def result_of(place, name):
    """Return what a command has written that must be the same."""
    if name in ("evaluate", "predict"):
        found = json.loads((place / "result.json").read_text())
        return str(found).replace(str(place), "")
    if name == "resume":
        lines = (place / "workdir" / "metrics.jsonl").read_text(errors="replace").splitlines()
        return [line.partition(' "images_per_second"')[0] for line in lines if '"step": 60' in line]
    return None


def test_damaged_files(intact, tmp_path, turns, capfd):
    place, expected = tmp_path / "copy", {}
    for name, command in commands(place).items():
        shutil.copytree(intact, place)
        assert outcome_here(command, capfd, name) == 0
        expected[name] = result_of(place, name)
        shutil.rmtree(place)
    refused = 0
    for moments in turns:
        shutil.copytree(intact, place)
        files = sorted(file for file in place.rglob("*") if file.is_file())
        file, name = moments.choice(files), moments.choice([*expected])
        what = f"{name} after {damage(file, files, moments)} of {file.relative_to(place)}"
        status = outcome_here(commands(place)[name], capfd, what)
        if status == 0:
            assert result_of(place, name) == expected[name], what
        refused += status != 0
        shutil.rmtree(place)
    print(f"{refused} refusals")
