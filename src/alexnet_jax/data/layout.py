"""Recognize the splits and the classes of a folder of images. What is ambiguous is refused in one line."""

import os
import unicodedata
from collections.abc import Iterable
from typing import NoReturn

from alexnet_jax.data.source import SPLIT_WORDS, words_like_splits
from alexnet_jax.data.walk import Walk, holds_images, image_folders
from alexnet_jax.errors import UserError
from alexnet_jax.text import first_of

_FEW = 10  # most folders that could be splits or parts of one set


def splits_of(walk: Walk) -> dict[str, str]:
    """Return the folder of each split, or no folders if the root holds the folders of the classes.

    Raises:
      UserError: the folders may be splits or classes, a split has two folders, or there is none for training.
      OSError: a folder can't be read.
    """
    root = walk.root
    folders, images = walk.inside(root)
    found: dict[str, str] = {}
    for folder in folders:
        split = SPLIT_WORDS.get(_name(folder).strip().casefold())
        if split in found:
            _refuse(
                f"{root} has both {_name(found[split])} and {_name(folder)}, which are names of the {split}"
                " split: rename or remove one of them"
            )
        if split is not None:
            found[split] = folder
    others = [folder for folder in folders if folder not in found.values()]
    if not found:
        _refuse_other_splits(root, others)
        return {}
    beside = [folder for folder in others if holds_images(folder)]
    for folder in beside:
        if words_like_splits(_name(folder)) and _has_only_folders(folder):
            _refuse(
                f"{root} has {_name(folder)} beside {_names(found.values())}: if it is a split, name it"
                f" train, val or test; otherwise move it out of {root}"
            )
    if beside and ("train" not in found or len(found) == 1 or not image_folders(found["train"])[0]):
        names, more = _names(found.values()), _names(beside)
        _refuse(
            f"{root} has {names}, which may be a split or a class, beside {more}: if all are classes, move"
            f" all of them into {root}/train; otherwise move only {more} there, or out of {root}"
        )
    if "train" not in found:
        _refuse(f"{root} has a folder for {', '.join(found)}, but none for training: add {root}/train")
    walk.leave_out("folders beside the splits", beside)
    walk.leave_out("folders without images", (folder for folder in others if folder not in beside))
    walk.leave_out("images that lie in no split", images)
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def classes_of(walk: Walk, folder: str) -> dict[str, str]:
    """Return the folder of each class in the folder of a split. Names of classes are composed (NFC).

    Raises:
      UserError: the names of two folders differ only in the form of their Unicode.
      OSError: a folder can't be read.
    """
    found: dict[str, str] = {}
    folders, images = walk.inside(folder)
    for path in folders:
        name = unicodedata.normalize("NFC", _name(path))
        if name in found:
            _refuse(
                f"{folder} has two folders whose name is {name}, composed and decomposed in Unicode:"
                " move the images of one of them into the other"
            )
        found[name] = path
    if found and all(name.casefold() in SPLIT_WORDS for name in found):
        _refuse(
            f"{folder} has folders with the names of splits, {first_of(list(found))}, in place of classes:"
            f" move the folders of the classes into {folder}"
        )
    walk.leave_out("images that lie in no class", images)
    return found


def _refuse_other_splits(root: str, folders: list[str]) -> None:
    """Refuse folders that may be splits under names that are not known."""
    like = [folder for folder in folders if words_like_splits(_name(folder))]
    kinds = {"train" in _name(folder).casefold() for folder in like}
    if len(folders) > 1 and (len(kinds) > 1 or any(map(_has_only_folders, like))):
        _refuse(
            f"{root} has {_names(like)}: if these are splits, name them train, val and test; if they are"
            f" classes, move all classes into {root}/train"
        )
    inside: dict[str, set[str]] = {}
    for folder in folders:
        names, has_images = image_folders(folder)
        if has_images:
            return
        if names:
            inside[folder] = names
    if len(inside) < 2:
        return  # `open_folder` refuses a single class
    first, *others = inside.values()
    same = all(names == first for names in others)
    if all(name.casefold() in SPLIT_WORDS for names in inside.values() for name in names):
        _refuse(
            f"{root} has the splits {first_of(sorted(first))} inside {_names(inside)}: put the splits first,"
            f" as in {root}/train/{_name(next(iter(inside)))}"
        )
    if same and len(first) > 1 and len(inside) <= _FEW:
        _refuse(
            f"{root} has the same folders, {first_of(sorted(first))}, inside each of {_names(inside)}: if"
            f" those are the classes, choose one folder, such as folder:{next(iter(inside))}, or name the"
            f" folders train, val and test; if these are the classes, move them into {root}/train"
        )


def _has_only_folders(folder: str) -> bool:
    names, has_images = image_folders(folder)
    return len(names) > 1 and not has_images


def _name(path: str) -> str:
    return os.path.basename(path)  # noqa: PTH119 (as for all paths of `walk`)


def _names(paths: Iterable[str]) -> str:
    return first_of([_name(path) for path in paths])


def _refuse(message: str) -> NoReturn:
    raise UserError(f"config.data.source: {message}")
