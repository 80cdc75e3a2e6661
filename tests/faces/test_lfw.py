"""The lists and folders of LFW, and what is wrong with them in one line."""

import re

import pytest

from alexnet_jax.errors import UserError
from alexnet_jax.faces import lfw as reading
from alexnet_jax.faces.lfw import Face, Pair
from tests.faces.conftest import write_pairs


def test_pairs_are_read_in_folds(lfw):
    folds = reading.read_pairs(lfw.root / "pairs.txt")
    assert [len(fold) for fold in folds] == [24] * 4
    assert folds[1][0] == Pair(Face("Person_B0", 1), Face("Person_B0", 2))
    assert folds[1][12] == Pair(Face("Person_B0", 1), Face("Person_B1", 1))
    assert [[pair.same for pair in fold] for fold in folds] == [[True] * 12 + [False] * 12] * 4
    assert [sorted(reading.people_of(fold)) for fold in folds] == lfw.folds
    (fold,) = reading.read_pairs(lfw.root / "pairsDevTest.txt")
    assert len(fold) == 48


def test_an_image_has_a_path_of_four_digits():
    assert Face("Ada_B", 7).path == "Ada_B/Ada_B_0007.jpg"


def test_lists_of_people_of_one_set_and_of_several(lfw, tmp_path):
    assert reading.read_people(lfw.root / "peopleDevTrain.txt") == {
        name: 5 if name[-1] in "012" else 3 for name in lfw.trained_on
    }
    (tmp_path / "people.txt").write_text("2\n1\nA_B\t3\n2\nC_D\t1\nE_F\t2\n")
    assert reading.read_people(tmp_path / "people.txt") == {"A_B": 3, "C_D": 1, "E_F": 2}


MALFORMED = [
    ("4\t12", "{} has 96 pairs, but its first line, '3\\t12', means 3 folds of 12 matched and 12", "3\t12"),
    ("Person_A0\t1\t2", "pair 1 of {} is 'Person_A0', but must be a line NAME NUMBER NUMBER", "Person_A0"),
    ("Person_A0\t1\t2", "pair 1 of {} is 'Person_A0\\t1\\tx', but", "Person_A0\t1\tx"),
    ("Person_A0\t1\t2", "pair 1 of {} is 'Person_A0\\t0\\t2', but", "Person_A0\t0\t2"),
    ("Person_A0\t1\t2", "pair 1 of {} is 'Person_A0\\t2\\t2', but", "Person_A0\t2\t2"),
    ("Person_A0\t1\t2", "pair 1 of {} is 'Person_A0\\t1\\tPerson_A1\\t1'", "Person_A0\t1\tPerson_A1\t1"),
    (
        "Person_B0\t1\tPerson_B1\t1",
        "pair 37 of {} is 'Person_B0\\t1\\tPerson_B0\\t2', but must be a line NAME NUMBER NAME NUMBER",
        "Person_B0\t1\tPerson_B0\t2",
    ),
    ("Person_D0\t1\t2", "1 of the 24 people in {} are in several folds (the first is", "Person_A3\t1\t2"),
]


@pytest.mark.parametrize(("line", "message", "instead"), MALFORMED)
def test_malformed_pairs_are_refused_in_one_line(lfw, line, message, instead):
    path = lfw.root / "pairs.txt"
    text = path.read_text()
    assert f"{line}\n" in text
    path.write_text(text.replace(f"{line}\n", f"{instead}\n", 1))
    with pytest.raises(UserError, match=re.escape(message.format(path))) as caught:
        reading.read_pairs(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", ["x 10", "0 12", "4 12 3", "-1"])
def test_the_first_line_must_have_the_number_of_pairs(lfw, head):
    write_pairs(lfw.root / "pairs.txt", head, lfw.folds)
    with pytest.raises(UserError, match=r"the first line of .* but must have the number of folds"):
        reading.read_pairs(lfw.root / "pairs.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "can't be read: No such file"), (b"\xff\xfe", "can't be read: 'utf-8'"), (b" \n", "is empty")],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "pairs.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        reading.read_pairs(tmp_path / "pairs.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [("1\nA_B\n", "line 2 of .* is 'A_B', but must be"), ("A\tx", "line 1 "), ("3\n", "no people")],
)
def test_malformed_lists_of_people_are_refused(tmp_path, text, message):
    (tmp_path / "people.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        reading.read_people(tmp_path / "people.txt")


def test_the_folder_of_images_is_found_inside_or_is_the_given_one(lfw):
    (lfw.root / "notes").mkdir()
    people = lfw.trained_on
    assert reading.image_folder(lfw.root, people) == lfw.images
    assert reading.image_folder(lfw.images, people) == lfw.images
    with pytest.raises(UserError, match="has no folders of people, such as Nobody: set --lfw=DIR"):
        reading.image_folder(lfw.root, ["Nobody"])
    with pytest.raises(UserError, match="can't be read: No such file"):
        reading.image_folder(lfw.root / "nowhere", people)
    for name in people:
        (lfw.root / "copy" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=r"copy and .*images have images of the same people"):
        reading.image_folder(lfw.root, people)


def test_missing_people_and_images_are_counted_and_the_first_is_named(lfw):
    faces = {face for fold in reading.read_pairs(lfw.root / "pairs.txt") for pair in fold for face in pair}
    reading.check_images(lfw.images, faces, "pairs.txt")
    for number in (2, 3):
        (lfw.images / "Person_C1" / f"Person_C1_{number:04}.jpg").unlink()
    message = (
        f"2 of the {len(faces)} images in pairs.txt are not in .* .the first is Person_C1/Person_C1_0002"
    )
    with pytest.raises(UserError, match=message):
        reading.check_images(lfw.images, faces, "pairs.txt")
    for name in ("Person_B3", "Person_D5"):
        (lfw.images / name).rename(lfw.root / name)
    message = "2 of the 24 people in pairs.txt have no folder in .* .the first is Person_B3"
    with pytest.raises(UserError, match=message):
        reading.check_images(lfw.images, faces, "pairs.txt")


def test_all_images_of_people_with_enough_of_them(lfw):
    found = reading.all_faces(lfw.images, lfw.folds[0], 4)
    assert found == [Face(f"Person_A{j}", number) for j in range(3) for number in range(1, 6)]
    assert len(reading.all_faces(lfw.images, lfw.folds[0], 3)) == 24
