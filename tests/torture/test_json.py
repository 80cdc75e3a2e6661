"""Hostile JSON with right checksums in a workdir and a cache: it is read, or refused with a `UserError`."""

import json
import shutil

import hypothesis
import pytest

from alexnet_jax.data.cache import load
from alexnet_jax.files import absolute
from alexnet_jax.training import metrics
from alexnet_jax.training.workdir import read_workdir
from tests.data.test_cache import forged
from tests.hostile import READ_ONLY, check_refusal, forge, hostile
from tests.torture.test_fuzz import cache_in

pytestmark = pytest.mark.slow

IN_A_TURN = 50


def test_hostile_json(trained, cache_dir, tmp_path, turns):
    workdir, cache = tmp_path / "workdir", tmp_path / "cache"
    shutil.copytree(trained, workdir)
    shutil.copytree(cache_in(cache_dir), cache)
    config = json.loads((workdir / "config.json").read_text())
    del config["checksums"]
    described = json.loads((workdir / "data.json").read_text())
    log = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]

    def write_log(lines):
        text = "\n".join(map(json.dumps, lines)) if isinstance(lines, list) else json.dumps(lines)
        (workdir / "metrics.jsonl").write_text(text)

    documents = {
        "config.json": (config, lambda found: forge(workdir, found), lambda: read_workdir(workdir)),
        "data.json": (
            described,
            lambda found: forge(workdir, config, data=json.dumps(found).encode()),
            lambda: read_workdir(workdir),
        ),
        "metrics.jsonl": (log, write_log, lambda: metrics.read(absolute(workdir))),
        "data.json of the cache": (
            described,
            lambda found: forged(cache, data_json=json.dumps(found).encode()),
            lambda: load(cache),
        ),
    }
    for moments in turns:
        _check(*documents[moments.choice([*documents])], moments.getrandbits(64))
    print(f"{turns.number * IN_A_TURN} documents")


def _check(document, write, read, seed):
    @hypothesis.seed(seed)
    @hypothesis.settings(READ_ONLY, max_examples=IN_A_TURN)
    @hypothesis.given(hostile(document))
    def check(found):
        write(found)
        check_refusal(read)

    check()
