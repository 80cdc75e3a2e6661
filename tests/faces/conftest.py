"""A folder like that of LFW, with patterns instead of faces."""

import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Made:
    """A folder with its lists.

    ``folds`` has the names of the people of each fold of pairs.txt. Half of the folds are those of
    pairsDevTrain.txt and peopleDevTrain.txt, the others those of pairsDevTest.txt.
    """

    root: object
    folds: list[list[str]]

    @property
    def images(self):
        return self.root / "images"

    @property
    def trained_on(self):
        return [name for fold in self.folds[:2] for name in fold]


def lines(people, count):
    """Return ``count`` lines with matched pairs, and as many with mismatched ones."""
    matched = [f"{name}\t{a}\t{b}" for a, b in itertools.combinations((1, 2, 3), 2) for name in people]
    others = [f"{a}\t{n}\t{b}\t{n}" for n in (1, 2, 3) for a, b in itertools.combinations(people, 2)]
    assert len(matched) >= count <= len(others)
    return [*matched[:count], *others[:count]]


def write_pairs(path, head, folds, count=12):
    path.write_text("\n".join([head, *(line for people in folds for line in lines(people, count))]) + "\n")


@pytest.fixture
def lfw(tmp_path):
    """Four folds of six people. The first three of each have five images, the others three."""
    random = np.random.default_rng(0)
    root = tmp_path / "lfw"
    folds = [[f"Person_{'ABCD'[i]}{j}" for j in range(6)] for i in range(4)]
    counts = {name: 5 if j < 3 else 3 for fold in folds for j, name in enumerate(fold)}
    for name, count in counts.items():
        pattern = random.integers(0, 256, (8, 8, 3))
        (root / "images" / name).mkdir(parents=True)
        for number in range(1, count + 1):
            pixels = np.clip(pattern + random.normal(0, 20, pattern.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{name}_{number:04}.jpg", quality=95)
    write_pairs(root / "pairs.txt", "4\t12", folds)
    write_pairs(root / "pairsDevTrain.txt", "24", [[*folds[0], *folds[1]]], 24)
    write_pairs(root / "pairsDevTest.txt", "24", [[*folds[2], *folds[3]]], 24)
    for name, some in (("Train", folds[:2]), ("Test", folds[2:])):
        people = [f"{person}\t{counts[person]}" for fold in some for person in fold]
        (root / f"peopleDev{name}.txt").write_text("\n".join([str(len(people)), *people]))
    return Made(root, folds)


def named(net, class_names):
    """Return a network as if it had been trained on these classes."""
    data = dataclasses.replace(net.data, class_names=tuple(class_names), class_words=tuple(class_names))
    return dataclasses.replace(net, data=data)
