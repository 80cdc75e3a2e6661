"""Annotated drawings, and networks with random weights that are large enough for detection."""

import importlib
import json
import os

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

from alexnet_jax import build
from alexnet_jax.config import base
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.detection import proposals
from alexnet_jax.files import absolute
from alexnet_jax.layers import Classifier, Conv, Dense, Dropout, MaxPool, ReLU
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import new_state
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.workdir import write_workdir

SIZE = (60, 50)  # width and height


def voc_folder(folder, objects, inside=""):
    """Write a folder of PASCAL VOC with ``{id: [{"name", "box", "difficult"}]}`` and grey photographs."""
    data = folder / "VOC2007"
    for name in ("Annotations", "JPEGImages"):
        (data / name).mkdir(parents=True)
    for name, found in objects.items():
        Image.new("RGB", SIZE, "grey").save(data / "JPEGImages" / f"{name}.jpg")
        texts = []
        for each in found:
            sides = zip(("xmin", "ymin", "xmax", "ymax"), each["box"], strict=True)
            box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
            named = f"<name>{each['name']}</name>" if each["name"] else ""
            mark = f"<difficult>{each.get('difficult', 0)}</difficult>"
            texts.append(f"<object>{named}{mark}<bndbox>{box}</bndbox>{inside}</object>")
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
        text = f"<annotation>{size}{''.join(texts)}</annotation>"
        (data / "Annotations" / f"{name}.xml").write_text(text)
    return data


def coco_file(folder, objects):
    """Write COCO JSON with ``{file name: [(class, [x, y, width, height])]}`` and grey photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = sorted({name for found in objects.values() for name, _ in found if name})
    content = {
        "info": {"year": "2007"},
        "images": [],
        "annotations": [],
        "categories": [{"id": 0, "name": "objects", "supercategory": "none"}]
        + [{"id": i, "name": name, "supercategory": "objects"} for i, name in enumerate(classes, 1)],
    }
    for number, (file, found) in enumerate(objects.items()):
        Image.new("RGB", SIZE, "grey").save(folder / file)
        width, height = SIZE
        content["images"].append({"id": number, "file_name": file, "width": width, "height": height})
        for name, box in found:
            category = classes.index(name) + 1 if name else 99
            content["annotations"].append(
                {"id": 0, "image_id": number, "category_id": category, "bbox": list(box), "area": 1}
            )
    (folder / "x.json").write_text(json.dumps(content))
    return folder / "x.json"


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """A folder of PASCAL VOC: a red disc or blue square in each of 16 drawings, and lists of both halves."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("drawings")
    objects, images = {}, {}
    for number in range(16):
        name, side = f"{number:06}", int(random.integers(24, 40))
        width, height = (int(x) for x in random.integers(70, 90, 2))
        x, y = int(random.integers(0, width - side)), int(random.integers(0, height - side))
        kind = ("disc", "square")[number % 2]
        image = Image.fromarray(random.integers(90, 110, (height, width, 3), np.uint8))
        draw = ImageDraw.Draw(image)
        shape = draw.ellipse if kind == "disc" else draw.rectangle
        shape((x, y, x + side - 1, y + side - 1), fill="red" if kind == "disc" else "blue")
        objects[name] = [{"name": kind, "box": (x + 1, y + 1, x + side, y + side)}]
        images[name] = image
    data = voc_folder(folder, objects)
    for name, image in images.items():
        image.save(data / "JPEGImages" / f"{name}.jpg", quality=95)
        file = data / "Annotations" / f"{name}.xml"
        size = f"<size><width>{image.width}</width><height>{image.height}</height></size>"
        file.write_text(file.read_text().replace("<size><width>60</width><height>50</height></size>", size))
    (data / "ImageSets" / "Main").mkdir(parents=True)
    for split, numbers in (("train", range(8)), ("val", range(8, 16))):
        lines = "".join(f"{number:06}\n" for number in numbers)
        (data / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
    return data


@pytest.fixture
def opencv():
    """OpenCV. Without it, tests on real proposals are skipped, or fail in CI."""
    if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
        return importlib.import_module("cv2")
    return pytest.importorskip("cv2")


@pytest.fixture
def grid(monkeypatch):
    """Replace selective search by boxes on a grid, which need no OpenCV."""
    calls = []

    def propose(image):
        calls.append(image.shape)
        height, width, _ = image.shape
        boxes = [
            (x, y, x + side, y + side)
            for side in (24, 32, 40)
            for x in range(0, width - side, 8)
            for y in range(0, height - side, 8)
        ]
        return np.array(boxes, float)

    monkeypatch.setattr(proposals, "selective_search", lambda: propose)
    return calls


def save_network(workdir, seed=0, crop=64, layers=None):
    """Write the workdir of a two-tower network with random weights."""
    config = base()
    config.seed, config.batch_size, config.mesh, config.num_steps = seed, 16, (1, 1), 1
    config.data.source = "sklearn:digits"
    config.data.image_size, config.data.crop_size = crop + 8, crop
    config.net.layers = layers or (
        Conv("conv1", features=6, kernel=8, stride=4, std=0.02),
        ReLU("relu1"),
        MaxPool("pool1", window=3, stride=2),
        Conv("conv2", features=8, kernel=3, reads="all", std=0.1),
        ReLU("relu2"),
        Dense("fc6", units=24, reads="all", std=0.1),
        ReLU("relu6"),
        Dropout("drop6"),
        Classifier("fc8", classes=3),
    )
    names = ("a", "b", "c")
    info = DataInfo(
        "sklearn:digits", "1", "0", "raw", (crop + 8,) * 2, names, names, {"train": 16}, np.eye(3),
        np.full((crop + 8, crop + 8, 3), 100, np.float32),
    )  # fmt: skip
    state = new_state(build(config), config, make_mesh(1, 1, jax.devices()[:1]))
    write_workdir(workdir, config, info)
    with CheckpointWriter(absolute(workdir), keep=1) as checkpoints:
        checkpoints.save(1, state, Plateau(), None, Tally())
    return workdir


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """The workdir of a network; tests only read it."""
    return save_network(tmp_path_factory.mktemp("network"))
