"""Every path that a user can pass is accepted, or refused before anything is done."""

import importlib.util
from pathlib import Path

import pytest

from alexnet_jax import UserError
from alexnet_jax.cli.main import main
from alexnet_jax.remote.paths import in_bucket, on_disk, scheme
from tests.conftest import RECIPES

TINY = f"--config={RECIPES / 'tiny.py'}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("runs/a", None),
        ("/a:b//c", None),
        ("C:/x", None),
        ("a:/b", None),
        ("gs://bucket/a", "gs"),
        ("s3://bucket/a", "s3"),
        ("file:///a", "file"),
        (Path("gs://bucket/a"), "gs"),
        ("abfss://x@y/z", "abfss"),
    ],
)
def test_the_scheme_of_a_path(path, expected):
    assert scheme(path) == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bucket/run", "of the URLs only gs://BUCKET/DIR is supported"),
        ("http://host/run", "of the URLs only gs://BUCKET/DIR is supported"),
        ("GS://bucket/run", "of the URLs only gs://BUCKET/DIR is supported"),
        ("gs:/bucket/run", "pathlib.Path removes a slash"),
        ("gs://", "must be gs://BUCKET/DIR"),
        ("gs://bucket", "must be gs://BUCKET/DIR"),
        ("gs://Bucket/run", "must be gs://BUCKET/DIR"),
        ("gs://bucket/a/../b", "must be gs://BUCKET/DIR"),
        ("gs://bucket/run[1]", "must be gs://BUCKET/DIR"),
        ("gs://bucket/two\nlines", "must be gs://BUCKET/DIR"),
    ],
)
def test_other_urls_are_refused(path, message):
    with pytest.raises(UserError, match=message):
        in_bucket(path)


def test_paths_in_buckets_are_accepted_and_others_are_on_a_disk():
    assert in_bucket("gs://bucket/run")
    assert in_bucket("gs://my.bucket-1/two words/run/")
    assert not in_bucket("gs/bucket")
    on_disk("gs/bucket", "the folder", "copy it")
    with pytest.raises(UserError, match="the folder gs://b/x must be on a local disk: copy it"):
        on_disk("gs://b/x", "the folder", "copy it")


def test_a_bucket_without_its_packages_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[gcs\]'"):
        in_bucket("gs://bucket/run")


S3 = "s3://bucket/x"
REFUSED = [
    ["train", TINY, f"--workdir={S3}"],
    ["train", TINY, "--workdir=w", f"--config.init_from={S3}"],
    ["train", TINY, "--workdir=w", f"--config.data.cache_dir={S3}"],
    ["train", TINY, "--workdir=w", "--config.data.cache_dir=gs://bucket/x"],
    ["train", TINY, "--workdir=w", f"--config.data.source=folder:{S3}"],
    ["train", TINY, "--workdir=w", "--config.data.source=folder:gs://bucket/x"],
    ["train", TINY, "--workdir=w", f"--config.data.source={S3}"],
    ["train", "--config=gs://bucket/x.py", "--workdir=w"],
    ["prepare", TINY, f"--config.data.cache_dir={S3}"],
    ["evaluate", f"--workdir={S3}"],
    ["evaluate", "--workdir=w", f"--workdir={S3}"],
    ["evaluate", "--workdir=w", f"--json={S3}"],
    ["predict", f"--workdir={S3}", "a.png"],
    ["predict", "--workdir=w", "gs://bucket/a.png"],
    ["predict", "--workdir=w", "a.png", f"--save={S3}.png"],
    ["predict", "--workdir=w", "a.png", f"--json={S3}"],
    ["report", f"--workdir={S3}"],
    ["report", f"--workdir={S3}", "--tables"],
    ["sweep", TINY, f"--workdir={S3}"],
    ["plan", TINY, "--topology=cpu:8", f"--json={S3}"],
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_each_verb_refuses_other_urls_in_one_line_and_writes_nothing(words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "only gs://BUCKET/DIR is supported" in err or "on a local disk" in err or "but must be" in err
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_tfds_must_be_on_a_disk(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://bucket/tfds")
    words = ["prepare", TINY, "--config.data.source=tfds:cifar10", f"--config.data.cache_dir={tmp_path}"]
    assert main(words) == 2
    assert "TFDS_DATA_DIR gs://bucket/tfds must be on a local disk" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-bucket", "there is no bucket gs://no-such-bucket. Create it first"),
        ("needs-credentials", "needs credentials"),
        ("forbidden-bucket", "refuses access"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_refused_in_one_line(name, message, emulator, capfd):
    for verb in ("train", "sweep"):
        assert main([verb, TINY, f"--workdir=gs://{name}/run"]) == 2
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert message in err
