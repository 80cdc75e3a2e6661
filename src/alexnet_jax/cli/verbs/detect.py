"""alexnet-jax detect."""

import io
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    check_workdirs,
    json_flag,
    parse,
    required,
    step_flag,
    workdir_flag,
    writing,
)
from alexnet_jax.errors import NOTE, UserError, near
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import progress
from alexnet_jax.text import size_in_words

_MOST = {"cpu": 200}  # proposals of a photograph, by platform

if TYPE_CHECKING:
    from alexnet_jax.detection.annotations import Annotated

USAGE = """\
train|evaluate|predict [--flag=value ...]
trains, measures and runs an object detector on the features of a network"""

_DATA_USAGE = """--data=VOC2007|FILE.json [--images=DIR] [--list=NAME|FILE]
[--leave_out=FILE]"""
_TRAIN_USAGE = f"""\
--workdir=DIR --out=DIR {_DATA_USAGE}
[--step=last|best|N] [--max_proposals=N] [--finetune_steps=N] [--random_weights]
[--classes=A,B,...]
trains an SVM and a regression of boxes for each class; the same command resumes"""
_EVALUATE_USAGE = f"""\
--detector=DIR {_DATA_USAGE}
[--workdir=DIR] [--json=FILE]
prints the average precision of each class, by the rules of PASCAL VOC"""
_PREDICT_USAGE = """\
--detector=DIR PATH... [--least_score=0] [--workdir=DIR] [--json=FILE] [--save=DIR]
prints the objects in image files, and in all images in folders"""


def run(args: list[str]) -> int | None:
    """Train, measure or run a detector."""
    parts = {"train": _train, "evaluate": _evaluate, "predict": _predict}
    first, *rest = args or [""]
    if first in ("--help", "-h"):
        usages = {"train": _TRAIN_USAGE, "evaluate": _EVALUATE_USAGE, "predict": _PREDICT_USAGE}
        progress.show("\n\n".join(f"usage: alexnet-jax detect {name} {usages[name]}" for name in parts))
        return 0
    if first not in parts:
        raise UserError(f"detect {first or '(nothing)'}{near(first, parts)}: write detect {', '.join(parts)}")
    return parts[first](rest)


def _data_flags(values: flags.FlagValues) -> None:
    for name, text in (
        ("data", "Folder such as VOCdevkit/VOC2007, or a file of COCO JSON. Repeat the flag for several."),
        ("images", "Folder of the photographs of COCO JSON; by default that of the file. May be repeated."),
        ("list", "List of the photographs to read: a file, or a name in ImageSets/Main. May be repeated."),
        ("leave_out", "List of photographs to leave out. May be repeated."),
    ):
        flags.DEFINE_multi_string(name, [], text, flag_values=values)


def _detector_flag(values: flags.FlagValues) -> None:
    flags.DEFINE_string("detector", None, "Folder that detect train wrote.", flag_values=values)


def _annotated(values: flags.FlagValues, class_names: Sequence[str]) -> "Annotated":
    """Read the photographs that the flags name, and print what is wrong with them."""
    from alexnet_jax.detection.annotations import read_annotations

    found = read_annotations(values.data, values.images, values.list, values.leave_out, class_names)
    for line in found.report():
        progress.note(f"{NOTE}{line}")
    objects = sum(len(each.labels_N) for each in found.photographs)
    progress.note(
        f"{len(found.photographs):,} photographs, {objects:,} objects, {len(found.class_names)} classes"
    )
    return found


def _peak() -> str:
    return size_in_words(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _train(args: list[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("out", None, "Folder of the detector.", flag_values=values)
        text = "Number of proposals of a photograph; by default 200 on a CPU, 2000 on other devices."
        flags.DEFINE_integer("max_proposals", None, text, lower_bound=1, flag_values=values)
        text = "Number of updates in which the network is fine-tuned on windows."
        flags.DEFINE_integer("finetune_steps", 0, text, lower_bound=0, flag_values=values)
        text = "Replace the weights of the network by random ones: a baseline."
        flags.DEFINE_bool("random_weights", False, text, flag_values=values)
        flags.DEFINE_list("classes", [], "The classes; by default those of all objects.", flag_values=values)

    values, *_ = parse("detect train", args, _TRAIN_USAGE, workdir_flag, step_flag, _data_flags, define)
    workdir = required(values.workdir, "--workdir=DIR")
    on_disk(required(values.out, "--out=DIR"), "--out", "name a folder on a disk")
    required(values.data, "--data=VOC2007 or --data=FILE.json")
    check_workdirs(workdir)

    from alexnet_jax.training.workdir import read_workdir

    read_workdir(workdir)
    annotated = _annotated(values, [name.strip() for name in values.classes])
    progress.starting(progress.say)

    from alexnet_jax.detection.train import train
    from alexnet_jax.training.restored import restore

    progress.say(progress.reading(workdir, values.step))
    net = restore(workdir, values.step)
    seed = net.config.seed if values.random_weights else None
    most = values.max_proposals or _MOST.get(net.mesh.devices.flat[0].platform, 2000)
    train(net, annotated, values.out, most, values.finetune_steps, seed)
    progress.say(f"done: the detector is in {values.out}; peak memory {_peak()}")


def _evaluate(args: list[str]) -> None:
    own = (_detector_flag, workdir_flag, _data_flags, json_flag)
    values, *_ = parse("detect evaluate", args, _EVALUATE_USAGE, *own)
    folder = required(values.detector, "--detector=DIR")
    on_disk(folder, "--detector", "copy it to a disk first")
    required(values.data, "--data=VOC2007 or --data=FILE.json")
    check_file("--json", values.json)

    progress.starting(progress.note)

    from alexnet_jax.detection import detector as detectors
    from alexnet_jax.detection.evaluate import evaluate

    detector = detectors.load(folder)
    annotated = _annotated(values, detector.description.class_names)
    network = detectors.network(detector.description, values.workdir)
    found = evaluate(detector, network, annotated, folder, progress.note)
    if values.json:
        with writing("--json", values.json):
            files.write_json(values.json, found.to_json())
    progress.show(str(found))
    progress.note(f"peak memory {_peak()}")


def _predict(args: list[str]) -> int:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_float("least_score", 0.0, "Least score of an object.", flag_values=values)
        flags.DEFINE_string("save", None, "Folder for the photographs with boxes.", flag_values=values)

    own = (_detector_flag, workdir_flag, json_flag, define)
    values, _, paths = parse("detect predict", args, _PREDICT_USAGE, *own, paths=True)
    folder = required(values.detector, "--detector=DIR")
    on_disk(folder, "--detector", "copy it to a disk first")
    required(paths and all(paths), "PATH of an image or a folder of images")
    check_file("--json", values.json)
    if values.save:
        on_disk(values.save, "--save", "name a folder on a disk")
    progress.starting(progress.note)

    from alexnet_jax.detection import detector as detectors
    from alexnet_jax.detection.drawing import drawn
    from alexnet_jax.detection.predict import predict

    left_out = 0

    def complain(line: str) -> None:
        nonlocal left_out
        left_out += 1
        progress.complain(line)

    detector = detectors.load(folder)
    network = detectors.network(detector.description, values.workdir)
    records: list[dict[str, Any]] = []
    for scene in predict(detector, network, map(files.expanded, paths), values.least_score, complain):
        progress.show(scene.text())
        records.append(scene.to_json())
        if values.save:
            picture = io.BytesIO()
            drawn(scene).save(picture, "png")
            with writing("--save", values.save):
                place = files.absolute(values.save)
                place.mkdir(parents=True, exist_ok=True)
                files.write(place / f"{len(records):05}_{Path(scene.path).stem}.png", picture.getvalue())
    if values.json:
        with writing("--json", values.json):
            files.write_json(values.json, records)
    return UserError.status if left_out else 0
