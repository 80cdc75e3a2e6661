"""The same photographs in every form that a source reads."""

import contextlib
import csv
import io
import json
import random
import struct
import tarfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

IDS = ("n01440764", "n02102040", "n02979186", "n03000684")  # tench, springer, cassette player, chain saw

SHORT = {"train": "train", "validation": "val"}
"""The folder of each split."""


def photographs(train=6, validation=2, contents=None):
    """Return (class, name, bytes) of each photograph of ``train`` and ``validation``, in a folder's order.

    Args:
      train: number of photographs of each class for training.
      validation: number of them for validation.
      contents: iterator over JPEG files; without it, the photographs show noise.
    """
    contents = contents or noise()
    names = {split: [] for split in ("train", "validation")}
    for i in range(validation * len(IDS)):
        names["validation"].append((IDS[i * 7 % len(IDS)], f"ILSVRC2012_val_{i + 1:08}.JPEG"))
    for wnid in IDS:
        names["train"] += [(wnid, f"{wnid}_{7 * i}.JPEG") for i in range(train)]
    return {
        split: [(*each, next(contents)) for each in sorted(of_split)] for split, of_split in names.items()
    }


def noise():
    draws = np.random.default_rng(0)
    while True:
        height, width = draws.integers(20, 60, 2)
        small = Image.fromarray(draws.integers(0, 256, (4, 4, 3), np.uint8))
        yield jpeg(small.resize((width, height)))


def jpeg(image):
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return content.getvalue()


def folder(photos, root):
    for split, each in photos.items():
        for wnid, name, content in each:
            (root / SHORT[split] / wnid).mkdir(parents=True, exist_ok=True)
            (root / SHORT[split] / wnid / name).write_bytes(content)
    return f"folder:{root}"


def tar(members):
    """Return the bytes of a tar with some members, (name, bytes)."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, each in members:
            info = tarfile.TarInfo(name)
            info.size = len(each)
            archive.addfile(info, io.BytesIO(each))
    return content.getvalue()


def archives(photos, root):
    """Write the archives of ILSVRC-2012. Their members are in no order."""
    root.mkdir(parents=True, exist_ok=True)
    shuffled = {split: random.Random(0).sample(each, len(each)) for split, each in photos.items()}
    classes = [
        (f"{wnid}.tar", tar([(name, content) for each, name, content in shuffled["train"] if each == wnid]))
        for wnid in random.Random(1).sample(IDS, len(IDS))
    ]
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar(classes))
    if "validation" in photos:
        (root / "ILSVRC2012_img_val.tar").write_bytes(tar([each[1:] for each in shuffled["validation"]]))
        devkit(photos["validation"], root / "ILSVRC2012_devkit_t12.tar.gz")
    return f"ilsvrc2012:{root}"


def devkit(validation, path, **contents):
    """Write the development kit. Its numbers of the classes are not in the order of their ids."""
    numbers = {wnid: i + 1 for i, wnid in enumerate(("n00001740", *IDS[::-1]))}  # the first is an inner node
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    synsets = np.array([(i, wnid, "some words") for wnid, i in numbers.items()], fields)
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets[:, None]})
    truth = "".join(
        f"{numbers[wnid]}\n" for wnid, _, _ in sorted(validation, key=lambda photo: photo[1])
    ).encode()
    files = {"ILSVRC2012_validation_ground_truth.txt": truth, "meta.mat": meta.getvalue()} | contents
    members = [
        (f"ILSVRC2012_devkit_t12/data/{name}", each) for name, each in files.items() if each is not None
    ]
    with tarfile.open(path, "w:gz") as archive:
        for name, each in members:
            info = tarfile.TarInfo(name)
            info.size = len(each)
            archive.addfile(info, io.BytesIO(each))


def table(photos, root, features=None):
    """Write Parquet files with the ``datasets`` library, two for each split."""
    import datasets

    root.mkdir(parents=True, exist_ok=True)
    features = features or datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(IDS))}
    )
    image, label = features
    for split, each in photos.items():
        columns = {
            image: [{"bytes": content, "path": name} for _, name, content in each],
            label: [wnid for wnid, _, _ in each],
        }
        whole = datasets.Dataset.from_dict(columns, features=features)
        for i in range(2):
            part = whole.shard(2, i, contiguous=True)
            with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
                part.to_parquet(root / f"{split}-{i:05}-of-00002.parquet", batch_size=5)
    return f"parquet:{root}"


def shards(photos, root, label="cls"):
    """Write shards with the ``webdataset`` library, two for each split."""
    import webdataset

    root.mkdir(parents=True, exist_ok=True)
    for split, each in photos.items():
        half = (len(each) + 1) // 2
        for i in range(2):
            with webdataset.TarWriter(str(root / f"{split}-{i:06}.tar")) as writer:
                for wnid, name, content in each[i * half : (i + 1) * half]:
                    fields = {"cls": wnid} if label == "cls" else {"json": {"label": wnid, "width": 40}}
                    writer.write({"__key__": name.removesuffix(".JPEG"), "jpg": content} | fields)
    return f"webdataset:{root}/*-{{000000..000001}}.tar"


def listed(photos, root):
    """Write a list of a folder of photographs, in no order."""
    folder(photos, root)
    rows = [
        (f"{SHORT[split]}/{wnid}/{name}", wnid, SHORT[split])
        for split, each in photos.items()
        for wnid, name, _ in each
    ]
    with (root / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        writer.writerows(random.Random(0).sample(rows, len(rows)))
    return f"csv:{root}/list.csv"


def prepared(photos, root, file_format="array_record", name="photographs"):
    """Write a data set as TFDS prepares it, without TensorFlow. Images have any size."""
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_pb2

    directory = root / name / "1.0.0"
    directory.mkdir(parents=True)
    splits = []
    for split, each in photos.items():
        records = []
        for wnid, _, content in each:
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(content)
            example.features.feature["label"].int64_list.value.append(IDS.index(wnid))
            records.append(example.SerializeToString())
        file = str(directory / f"{name}-{split}.{file_format}-00000-of-00001")
        if file_format == "array_record":
            writer = array_record_module.ArrayRecordWriter(file, "group_size:1")
            for record in records:
                writer.write(record)
            writer.close()
        else:
            framed = [struct.pack("<QI", len(r), 0) + r + bytes(4) for r in records]
            Path(file).write_bytes(b"".join(framed))
        splits.append(
            {
                "name": split,
                "shardLengths": [str(len(records))],
                "numBytes": str(sum(map(len, records))),
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    names = "tensorflow_datasets.core.features"
    keys = [{"featureKey": key} for key in ("image", "label")]
    info = {
        "name": name,
        "version": "1.0.0",
        "fileFormat": file_format,
        "splits": splits,
        "supervisedKeys": {"tuple": {"items": keys}},
    }
    image = {
        "pythonClassName": f"{names}.image_feature.Image",
        "image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8", "encodingFormat": "jpeg"},
    }
    label = {
        "pythonClassName": f"{names}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(len(IDS))},
    }
    features = {
        "pythonClassName": f"{names}.features_dict.FeaturesDict",
        "featuresDict": {"features": {"image": image, "label": label}},
    }
    (directory / "dataset_info.json").write_text(json.dumps(info))
    (directory / "features.json").write_text(json.dumps(features))
    (directory / "label.labels.txt").write_text("".join(f"{wnid}\n" for wnid in IDS))
    return f"tfds:{name}"


ALL = (folder, archives, table, shards, listed)
