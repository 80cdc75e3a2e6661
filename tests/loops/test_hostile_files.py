"""Files from strangers: `prepare` and `predict` end, name what they leave out, and print nothing harmful."""

import os
import re
import secrets

import numpy as np
import pytest

from alexnet_jax.cli.main import main
from tests import odd_images
from tests.conftest import HOSTILE_NAMES, ODD_NAMES, RECIPES

COUNT = 300


def damaged(random, content):
    """Return the content cut, with a range of zeros, or with some bits flipped."""
    found = np.frombuffer(content, np.uint8).copy()
    if not len(found):
        return content
    start, stop = sorted(random.integers(0, len(found) + 1, 2))
    match random.integers(4):
        case 0:
            found = found[:stop]
        case 1:
            found[start:stop] = 0
        case 2:
            for i in random.integers(0, len(found), 5):
                found[i] ^= 1 << random.integers(8)
    return found.tobytes()


def write_some(random, folder):
    """Write an entry of a random kind: a damaged image, a link, a pipe, or a folder with a link to all."""
    contents = [*odd_images.broken().values(), *(content for content, _ in odd_images.good().values())]
    odd = random.choice(np.array([*ODD_NAMES, *HOSTILE_NAMES], object)).replace("\0", "")
    name = f"{odd}{random.integers(10**9)}.jpg"
    path = folder / random.choice(["cat", "dog", "bird"]) / name
    match random.integers(20):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to(
                random.choice(["/dev/zero", "/dev/tty", name, "/proc/kmsg", "nowhere", "/proc/self/mem"])
            )
        case 2:
            path.mkdir()
            (path / "up").symlink_to(random.choice(["..", "../..", "."]))
        case _:
            path.write_bytes(damaged(random, random.choice(np.array(contents, object))))


@pytest.mark.slow
def test_files_from_strangers_do_no_harm(trained, tmp_path, capfd):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    folder = tmp_path / "images"
    for name in ("cat", "dog", "bird"):
        (folder / name).mkdir(parents=True)
        (folder / name / "good.jpg").write_bytes(odd_images.good()["jpeg.jpg"][0])
    for _ in range(COUNT):
        write_some(random, folder)
    images = [path for path in folder.rglob("*.jpg") if path.is_symlink() or not path.is_dir()]
    capfd.readouterr()

    prepare = ["prepare", f"--config={RECIPES / 'tiny.py'}", f"--config.data.source=folder:{folder}"]
    prepare += [f"--config.data.cache_dir={tmp_path / 'cache'}", "--config.data.max_broken=0.99"]
    assert main(prepare) == 0, seed
    out, err = capfd.readouterr()
    kept = sum(map(int, re.findall(r"(?:train|test|validation) (\d+)", out.splitlines()[-1])))
    (listed,) = (tmp_path / "cache").glob("*/broken.txt")
    broken = listed.read_text().splitlines()
    assert kept + len(broken) == len(images), seed
    check_output(out + err, seed)

    assert main(["predict", f"--workdir={trained}", str(folder)]) == 2, seed
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 6 * kept, seed
    assert sorted(re.findall("alexnet-jax: (.*) is left out: ", err)) == sorted(
        line.rpartition(".jpg: ")[0] + ".jpg" for line in broken
    ), seed
    check_output(out + err, seed)


def check_output(text, seed):
    assert "Traceback" not in text, seed
    assert all(character.isprintable() for character in text.replace("\n", "")), seed
