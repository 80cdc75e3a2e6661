"""Photographs and boxes from the folders of PASCAL VOC and from COCO JSON, and what is wrong with them."""

import json

import numpy as np
import pytest

from alexnet_jax.detection.annotations import photograph_id, read_annotations
from alexnet_jax.errors import UserError
from tests.detection.conftest import coco_file, voc_folder

ONE_BOX = """
{"images": [], "categories": [], "annotations": [{"image_id": 4, "category_id": 1, "bbox": [%s]}]}
"""
CAT = {"name": "cat", "box": (11, 21, 30, 40)}


def test_boxes_of_pascal_voc_become_half_open(tmp_path):
    parts = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    data = voc_folder(
        tmp_path, {"000005": [CAT, {"name": "dog", "box": (1, 1, 60, 50), "difficult": 1}]}, parts
    )
    found = read_annotations([str(data)])
    assert found.class_names == ("cat", "dog")
    assert found.report() == []
    [photograph] = found.photographs
    assert photograph.name == "000005"
    assert photograph.path == str(data / "JPEGImages" / "000005.jpg")
    assert photograph.size == (50, 60)
    assert photograph.boxes_Nx4.tolist() == [[10, 20, 30, 40], [0, 0, 60, 50]]
    assert photograph.labels_N.tolist() == [0, 1]
    assert photograph.difficult_N.tolist() == [False, True]


def test_lists_choose_photographs_by_name_and_by_file(tmp_path):
    data = voc_folder(tmp_path, {name: [CAT] for name in ("a", "b", "c", "d")})
    (data / "ImageSets" / "Main").mkdir(parents=True)
    (data / "ImageSets" / "Main" / "train.txt").write_text("a -1\nb  1\nd 1\nzz 1\n")
    (tmp_path / "bad.txt").write_text("d 1\nd 2\n\n")
    found = read_annotations([str(data)], lists=["train"], left_out=[str(tmp_path / "bad.txt")])
    assert [each.name for each in found.photographs] == ["a", "b"]
    assert found.report() == ["1 photographs of --list are not among those of --data; the first: zz"]
    with pytest.raises(
        UserError, match="there is no list val: name a file, or a list in the folder ImageSets"
    ):
        read_annotations([str(data)], lists=["val"])


def test_coco_json_with_names_of_roboflow_in_several_folders(tmp_path):
    name = "000007_jpg.rf.0a1b2c.jpg"
    first = coco_file(tmp_path / "one", {name: [("cat", (10, 20, 20, 20))], "x.jpg": []})
    second = coco_file(tmp_path / "two", {name: [("dog", (0, 0, 9, 9))], "y.jpg": [("dog", (0, 0, 9, 9))]})
    found = read_annotations([str(first), str(second)])
    assert [each.name for each in found.photographs] == ["000007", "x", "y"]
    assert found.class_names == ("cat", "dog")
    assert found.photographs[0].boxes_Nx4.tolist() == [[10, 20, 30, 40]]
    assert found.photographs[1].boxes_Nx4.shape == (0, 4)
    assert found.report() == ["1 photographs are listed twice, and the first copy counts; the first: 000007"]
    (tmp_path / "list.txt").write_text("000007\n")
    found = read_annotations([str(first)], lists=[str(tmp_path / "list.txt")])
    assert [each.name for each in found.photographs] == ["000007"]
    photographs = tmp_path / "elsewhere"
    (tmp_path / "one").rename(photographs)
    (tmp_path / "one").mkdir()
    (photographs / first.name).rename(first)
    found = read_annotations([str(first)], images=[str(tmp_path), str(photographs)])
    assert found.photographs[0].path == str(photographs / name)


def test_crowds_and_marks_of_difficulty_in_coco_json(tmp_path):
    file = coco_file(tmp_path, {"a.jpg": [("cat", (0, 0, 9, 9))] * 3})
    content = json.loads(file.read_text())
    content["annotations"][1]["iscrowd"] = 1
    content["annotations"][2]["difficult"] = True
    file.write_text(json.dumps(content))
    assert read_annotations([str(file)]).photographs[0].difficult_N.tolist() == [False, True, True]


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_unusable_boxes_are_counted_and_the_first_is_named(tmp_path, kind):
    boxes = {
        "a": [("cat", (5, 5, 10, 10)), ("cow", (5, 5, 10, 10))],
        "b": [("cat", (5, 5, 0, 10)), ("cat", (5, 5, -3, 10)), ("cow", (5, 5, 10, 10))],
        "c": [("cat", (60, 5, 10, 10)), ("cat", (55, 45, 10, 10)), (None, (5, 5, 10, 10))],
    }
    if kind == "coco":
        data = coco_file(tmp_path, {f"{name}.jpg": found for name, found in boxes.items()})
    else:
        objects = {
            name: [{"name": cls, "box": (x + 1, y + 1, x + w, y + h)} for cls, (x, y, w, h) in found]
            for name, found in boxes.items()
        }
        data = voc_folder(tmp_path, objects)
    found = read_annotations([str(data)], class_names=["cat"])
    assert found.class_names == ("cat",)
    assert sorted(found.report()) == [
        "1 boxes outside of their photographs are left out; the first: c",
        "1 boxes reach beyond their photographs and are cut off at the edge; the first: c",
        "2 boxes without area are left out; the first: b",
        "3 objects of unknown classes are left out; the first: a, class cow",
    ]
    assert [each.boxes_Nx4.tolist() for each in found.photographs] == [
        [[5, 5, 15, 15]],
        [],
        [[55, 45, 60, 50]],
    ]


def test_missing_photographs_are_counted(tmp_path):
    data = voc_folder(tmp_path, {"a": [CAT], "b": [CAT]})
    (data / "JPEGImages" / "a.jpg").unlink()
    found = read_annotations([str(data)])
    assert [each.name for each in found.photographs] == ["b"]
    assert "1 photographs are left out because their files are missing" in found.report()[0]
    (data / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(UserError, match="there are no photographs in"):
        read_annotations([str(data)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "must be an object"),
        ('{"images": 3}', "images is 3, but must be a list"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', "file_name is missing"),
        (ONE_BOX % "1, 2, 3, 4", "belongs to image 4, which is not listed"),
        (ONE_BOX % "1", "must be a list of 4"),
        ("{", "can't be read"),
    ],
)
def test_a_damaged_json_file_is_one_line(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_annotations([str(tmp_path / "x.json")])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<width>60</width>", "", "has no size/width"),
        ("<xmin>11</xmin>", "<xmin>eleven</xmin>", "could not convert"),
        ("<xmin>11</xmin>", "<xmin>nan</xmin>", "bndbox/xmin is nan"),
        ("</annotation>", "", "no element found"),
    ],
)
def test_a_damaged_annotation_is_one_line(tmp_path, old, new, message):
    data = voc_folder(tmp_path, {"a": [CAT]})
    file = data / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read_annotations([str(data)])


def test_places_that_are_no_data(tmp_path):
    with pytest.raises(UserError, match="does not exist: name a folder such as VOCdevkit/VOC2007"):
        read_annotations([str(tmp_path / "nothing")])
    with pytest.raises(UserError, match="has no folder Annotations"):
        read_annotations([str(tmp_path)])
    data = voc_folder(tmp_path, {"a": [CAT]})
    with pytest.raises(UserError, match="no photograph has an object of the classes dog"):
        read_annotations([str(data)], class_names=["dog"])


def test_ids():
    assert photograph_id("x/000005_jpg.rf.434ff6d.jpg") == "000005"
    assert photograph_id("2008_000123.jpg") == "2008_000123"
    assert photograph_id("a.b.png") == "a.b"
    assert np.array_equal(photograph_id("cat_jpg.jpg"), "cat_jpg")
