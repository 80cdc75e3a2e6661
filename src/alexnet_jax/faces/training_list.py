"""A list of the images of some people, to train a network that tells them apart."""

import csv
import io
import os
from pathlib import Path

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.faces.lfw import Face, check_images, image_folder, read_people


def write_list(
    folder: str | os.PathLike[str], people: str | os.PathLike[str], least: int, path: str | os.PathLike[str]
) -> tuple[int, int]:
    """Write the images of the people that have enough of them, as a source ``csv:FILE``.

    Args:
      folder: the folder of LFW.
      people: list of people, such as peopleDevTrain.txt.
      least: number of images that a person needs.
      path: path of the list. The paths of the images in it are relative to its folder.

    Returns:
      The numbers of people and of images.

    Raises:
      UserError: the list of people can't be read, fewer than two people have enough images, or images are
        missing.
      OSError: the list can't be written.
    """
    listed = read_people(people)
    chosen = {person: count for person, count in sorted(listed.items()) if count >= least}
    if len(chosen) < 2:
        raise UserError(
            f"{len(chosen)} of the {len(listed):,} people in {people} have {least:,} images or more: take a"
            " smaller --least"
        )
    images = image_folder(folder, chosen)
    faces = [Face(person, number) for person, count in chosen.items() for number in range(1, count + 1)]
    check_images(images, faces, str(people))
    target = Path(files.absolute(path))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "label"))
    rows.writerows((os.path.relpath(images / face.path, target.parent), face.person) for face in faces)
    files.write(target, text.getvalue().encode())
    return len(chosen), len(faces)
