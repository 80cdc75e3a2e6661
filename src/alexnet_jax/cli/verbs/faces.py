"""alexnet-jax faces."""

import io

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    check_views,
    check_workdirs,
    json_flag,
    layer_flag,
    parse,
    required,
    step_flag,
    views_flag,
    workdir_flag,
    writing,
)
from alexnet_jax.errors import UserError
from alexnet_jax.layers import position
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import progress

USAGE = """\
--workdir=DIR --lfw=DIR [--pairs=pairs.txt|pairsDevTest.txt|FILE] [--learning_pairs=FILE]
[--layer=fc7] [--metric=cosine|euclidean] [--components=128] [--least=10] [--gallery=1]
[--baselines] [--seed=0] [--views=1|10] [--step=last|best|N] [--json=FILE]
[--save=FILE.svg|FILE.png];
or --list=FILE.csv --lfw=DIR [--people=peopleDevTrain.txt] [--least=10]
verifies and identifies faces of LFW by the features of a network, by the standard protocol;
or writes a list of images, --config.data.source=csv:FILE, to train on people"""

_ONLY_LIST = ("people",)
_NOT_LIST = (
    *("workdir", "pairs", "learning_pairs", "layer", "metric", "components", "gallery", "baselines", "seed"),
    *("views", "step", "json", "save"),
)


def run(args: list[str]) -> None:
    """Verify and identify faces, or write a list of images to train on."""
    own = (workdir_flag, _define, layer_flag, views_flag, step_flag, json_flag)
    values, _, _ = parse("faces", args, USAGE, *own)
    lfw = files.expanded(required(values.lfw, "--lfw=DIR"))
    on_disk(lfw, "the folder of LFW", "copy it there first")
    for name in _NOT_LIST if values.list else _ONLY_LIST:
        if values[name].present:
            other = "goes without" if values.list else "is only for"
            raise UserError(f"--{name} {other} --list=FILE.csv: remove --{name}")
    if values.list:
        _write_list(lfw, values)
    else:
        _evaluate(lfw, values)


def _define(values: flags.FlagValues) -> None:
    """Define the flags that only this verb has."""

    def text(name: str, default: str | None, meaning: str) -> None:
        flags.DEFINE_string(name, default, meaning, flag_values=values)

    def number(name: str, default: int, least: int, meaning: str) -> None:
        flags.DEFINE_integer(name, default, meaning, least, 2**31 - 1, flag_values=values)

    text("lfw", None, "Folder of LFW: the lists, and the folder of the images.")
    text("pairs", "pairs.txt", "Pairs in folds; or in one fold, as pairsDevTest.txt has them.")
    text("learning_pairs", None, "Pairs for PCA and threshold of one fold; by default pairsDevTrain.txt.")
    text("save", None, "SVG or PNG file for the ROC curves.")
    text("list", None, "CSV file for the list of images.")
    text("people", "peopleDevTrain.txt", "People for --list.")
    flags.DEFINE_enum("metric", "cosine", ["cosine", "euclidean"], "Similarity.", flag_values=values)
    number("components", 128, 1, "Components of the PCA.")
    number("least", 10, 2, "Images that a person needs to be identified, or for --list.")
    number("gallery", 1, 1, "Images of each person in the gallery.")
    number("seed", 0, 0, "Seed of the gallery and of the random weights.")
    what = "Do the same with random weights, and with the pixels at 32x32."
    flags.DEFINE_bool("baselines", False, what, flag_values=values)


def _write_list(lfw: str, values: flags.FlagValues) -> None:
    from alexnet_jax.faces.lfw import list_path
    from alexnet_jax.faces.training_list import write_list

    check_file("--list", values.list)
    people = list_path(lfw, values.people)
    with writing("--list", values.list):
        count, images = write_list(lfw, people, values.least, values.list)
    progress.show(f"{values.list}: {images:,} images of {count:,} people with {values.least:,} or more")


def _evaluate(lfw: str, values: flags.FlagValues) -> None:
    workdir = required(values.workdir, "--workdir=DIR")
    check_workdirs(workdir)
    check_views(values.views)
    if values.gallery >= values.least:
        raise UserError(f"--gallery is {values.gallery}, but must be smaller than --least, {values.least}")
    check_file("--json", values.json)
    check_file("--save", values.save)
    if values.save and not values.save.lower().endswith((".svg", ".png")):
        raise UserError(f"--save={values.save} must end in .svg or .png")

    from alexnet_jax.training.workdir import read_workdir

    config, _ = read_workdir(workdir)
    if values.layer is not None:
        position(config.net.layers, values.layer)
    progress.starting(progress.say)

    from alexnet_jax.faces.evaluate import evaluate_faces
    from alexnet_jax.parallel.mesh import data_mesh
    from alexnet_jax.training.restored import restore

    progress.say(progress.reading(workdir, values.step))
    found = evaluate_faces(
        restore(workdir, values.step, data_mesh()), lfw, values.pairs, values.learning_pairs, values.layer,
        values.views, values.metric, values.components, values.least, values.gallery, values.seed,
        values.baselines,
    )  # fmt: skip
    if values.json:
        with writing("--json", values.json):
            files.write_json(values.json, found.to_json())
    if values.save:
        from alexnet_jax.faces.roc import draw
        from alexnet_jax.paper.charts import svg_text

        picture = io.BytesIO()
        if values.save.lower().endswith(".svg"):
            picture.write(svg_text(draw(found), "roc").encode())
        else:
            draw(found).savefig(picture, format="png", dpi=120)
        with writing("--save", values.save):
            files.write(files.absolute(values.save), picture.getvalue())
    progress.show(str(found))
