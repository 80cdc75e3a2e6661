"""alexnet-jax predict."""

import io
import sys

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    check_views,
    check_workdirs,
    json_flag,
    parse,
    required,
    step_flag,
    views_flag,
    workdir_flag,
    writing,
)
from alexnet_jax.errors import NOTE, UserError
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import progress

USAGE = """\
--workdir=DIR PATH... [--views=1|10] [--step=last|best|N] [--json=FILE] [--save=FILE.png]
prints the five most probable classes of image files, and of all images in folders"""


def run(args: list[str]) -> int:
    """Print the most probable classes of images."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("save", None, "PNG file for the images and bars.", flag_values=values)

    own = (workdir_flag, views_flag, step_flag, json_flag, define)
    values, _, paths = parse("predict", args, USAGE, *own, paths=True)
    paths = [files.expanded(path) for path in paths]
    workdir = required(values.workdir, "--workdir=DIR")
    check_workdirs(workdir)
    required(paths and all(paths), "PATH of an image or a folder of images")
    for path in paths:
        on_disk(path, "the image", "copy it there first")
    check_views(values.views)
    check_file("--json", values.json)
    check_file("--save", values.save)
    if values.save and not values.save.lower().endswith(".png"):
        raise UserError(f"--save={values.save} must end in .png")

    from alexnet_jax.training.workdir import read_workdir

    read_workdir(workdir)
    progress.starting(progress.note)

    from alexnet_jax.loops.predict import Prediction, predict
    from alexnet_jax.paper.figure4 import MOST_IN_A_PICTURE
    from alexnet_jax.training.restored import restore

    left_out = 0

    def complain(line: str) -> None:
        nonlocal left_out
        left_out += 1
        progress.complain(line)

    progress.note(progress.reading(workdir, values.step))
    records: list[dict[str, object]] = []
    drawn: list[Prediction] = []
    count = 0
    for prediction in predict(restore(workdir, values.step), paths, values.views, complain):
        progress.show(prediction.text(bars=sys.stdout.isatty()))
        if values.json:
            records.append(prediction.to_json())
        if values.save and len(drawn) < MOST_IN_A_PICTURE:
            drawn.append(prediction)
        count += 1
    if values.json:
        with writing("--json", values.json):
            files.write_json(values.json, records)
    if drawn:
        from alexnet_jax.paper import fonts
        from alexnet_jax.paper.figure4 import draw_predictions

        picture = io.BytesIO()
        with fonts.for_any_script():
            draw_predictions(drawn).savefig(picture, format="png", dpi=120)
        with writing("--save", values.save):
            files.write(files.absolute(values.save), picture.getvalue())
        if len(drawn) < count:
            progress.note(f"{NOTE}{values.save} shows the first {len(drawn)} of {count} images")
    return UserError.status if left_out else 0
