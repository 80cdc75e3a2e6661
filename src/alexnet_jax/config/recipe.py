"""Recipes: find them, load them with their variants, and list them.

A recipe is a Python file with ``get_config(variants: str = "")``, which begins from `base.base` and ends in
`with_variants`, or with ``sweep(variants: str = "")``. The package ships those of the repository's
``configs/``, which are found by their name without ``.py``. Both functions may omit the parameter if there
are no variants. Nothing here imports JAX.
"""

import ast
import contextlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ml_collections import ConfigDict

from alexnet_jax.config.renamed import new_name
from alexnet_jax.config.validate import validate
from alexnet_jax.errors import NOTE, UserError, near
from alexnet_jax.files import expanded
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import progress

T = TypeVar("T")


class UnknownVariant(UserError):
    """The error for a variant or a sweep that a recipe does not have.

    Attributes:
      known: names of those that the recipe has.
    """

    def __init__(self, kind: str, name: str, known: Collection[str]) -> None:
        super().__init__(f"no {kind} {name}{near(name, known)}; there are {', '.join(known) or 'none'}")
        self.known = tuple(known)


class Recipe(NamedTuple):
    """A recipe that the package ships.

    Attributes:
      name: name for ``--config=NAME``.
      verb: command that runs it: ``train`` or ``sweep``.
      variants: names of its variants.
      summary: first line of its docstring.
    """

    name: str
    verb: str
    variants: tuple[str, ...]
    summary: str


def get_config(path: str) -> ConfigDict:
    """Return the checked config of a recipe, ``FILE.py[:VARIANT,...]`` or ``NAME[:VARIANT,...]``.

    Raises:
      UserError: the recipe does not exist, its variants are unknown or contradict each other, or a setting
        has a wrong value.
    """
    config = load(path)
    validate(config)
    return config


def load(path: str) -> ConfigDict:
    """Return the config of a recipe, as `get_config`, but unchecked: settings may still be overridden."""
    return call(path, "get_config", ConfigDict)


def shipped() -> dict[str, Path]:
    """Return the files of the recipes that the package ships, by name."""
    package = Path(__file__).parent.parent
    installed, repository = package / "configs", package.parent.parent / "configs"
    folder = installed if installed.is_dir() else repository
    return {file.stem: file for file in sorted(folder.glob("*.py"))}


def find(path: str) -> tuple[Path, str]:
    """Return the file and the variants of ``FILE.py[:VARIANT,...]`` or ``NAME[:VARIANT,...]``.

    A file takes precedence over a shipped recipe of the same name. A path may contain colons: the last one
    separates the variants, if the part before it is a file.

    Raises:
      UserError: there is neither such a file nor such a recipe.
    """
    on_disk(path, "the recipe", "copy it there, or take a recipe of the package")
    before, colon, after = path.rpartition(":")
    for name, variants in ((path, ""), (before, after)) if colon else ((path, ""),):
        file = Path(expanded(name))
        if name and os.path.isfile(file):  # noqa: PTH113 (which has no error for any name)
            return file, variants
    name, _, variants = path.partition(":")
    known = shipped()
    if name in known:
        return known[name], variants
    asked = before if colon and not path.endswith(".py") else path
    is_path = "/" in asked or asked.endswith(".py")
    raise UserError(
        f"no {'config file' if is_path else 'recipe'} {asked}{near(Path(asked).stem, known)}:"
        f" use {'another file' if is_path else 'a file, FILE.py,'} or a recipe of the package"
        f" ({', '.join(known)})"
    )


def beside(file: Path, path: str) -> str:
    """Return the path of the recipe that a sweep names: a file beside the sweep, or a shipped recipe."""
    there = str(file.parent / path)
    with contextlib.suppress(UserError):
        find(there)
        return there
    return path if path.partition(":")[0] in shipped() else there


def call(path: str, function: str, kind: type[T]) -> T:
    """Call a function of a recipe with the variants, and return its result.

    Args:
      path: path of the recipe with its variants, as in `find`.
      function: name of the function.
      kind: type that it must return.

    Raises:
      UserError: the recipe or the function does not exist, fails, or returns another type.
    """
    file, variants = find(path)
    if path.partition(":")[0] == str(file) and str(file) in shipped():
        note = f"{file} is a file here; it is used instead of the package's recipe of that name"
        progress.note(f"{NOTE}{note}")
    with _importing_from(file.parent):
        loader = importlib.machinery.SourceFileLoader(f"alexnet_jax_recipe_{file.stem}", str(file))
        spec = importlib.util.spec_from_file_location(loader.name, file, loader=loader)
        if spec is None:
            raise UserError(f"{file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[loader.name] = module  # dataclasses look their module up
        try:
            loader.exec_module(module)
            if not hasattr(module, function):
                other = {"get_config": "sweep", "sweep": "get_config"}[function]
                verbs = {"get_config": "train", "sweep": "sweep"}
                verb = f": run it with alexnet-jax {verbs[other]}" if hasattr(module, other) else ""
                raise UserError(f"{file} has no {function}(){verb}")
            made = _call(getattr(module, function), function, variants, file)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit too
            raise UserError(f"{file} can't be loaded: {_explain(error, file)}") from error
        finally:
            del sys.modules[loader.name]
    if not isinstance(made, kind):
        raise UserError(f"{file}: {function}() must return a {kind.__name__}")
    return made


def _call(make: Callable[..., Any], function: str, variants: str, file: Path) -> Any:
    """Call a function of a recipe: with the variants if it has a parameter, otherwise with nothing."""
    if inspect.signature(make).parameters:
        return make(variants)
    if variants:
        raise UserError(f"{file}: {function}() takes no variants: remove :{variants}")
    return make()


def _explain(error: BaseException, file: Path) -> str:
    """Return the text of an error in a recipe, with the last line of the recipe, or of a module beside it."""
    frames = traceback.extract_tb(error.__traceback__)
    here = [frame for frame in frames if Path(frame.filename).resolve().parent == file.resolve().parent]
    if not here or isinstance(error, SyntaxError):  # which names its line itself
        return _reason(error)
    name = "" if Path(here[-1].filename).name == file.name else f"{Path(here[-1].filename).name}, "
    return f"{_reason(error)} ({name}line {here[-1].lineno})"


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({error.code!r})"
    if isinstance(error, AttributeError) and isinstance(error.obj, ConfigDict):
        name = str(error.name)
        now = new_name(name)
        hint = near(name, [*error.obj]) if now is None else f": it is called {now} now"
        return f"the config has no {name}{hint}"
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let a recipe import the modules beside it, and remove them from `sys.modules` afterwards.

    Another recipe may have a module of the same name beside it. If the folder has a module with the name of
    one that was imported from elsewhere, the imported one is put aside until the recipe is loaded.
    """
    folder = folder.resolve()

    def in_folder(name: str) -> bool:
        return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()

    def modules_of(tops: Collection[str]) -> list[str]:
        return [name for name in tuple(sys.modules) if name.partition(".")[0] in tops]

    before = {name for name in tuple(sys.modules) if "." not in name}
    from_elsewhere = {
        name
        for name in before - sys.stdlib_module_names
        if in_folder(name) and folder not in Path(getattr(sys.modules[name], "__file__", None) or "").parents
    }
    hidden = {name: sys.modules.pop(name) for name in modules_of(from_elsewhere)}
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        new = {name for name in tuple(sys.modules) if "." not in name} - (before - from_elsewhere)
        for name in modules_of({name for name in new if in_folder(name)}):
            del sys.modules[name]
        sys.modules.update(hidden)


def with_variants(
    config: ConfigDict,
    variants: str,
    known: Mapping[str, Callable[[ConfigDict], None]],
    exclusive: Collection[frozenset[str]] = (),
) -> ConfigDict:
    """Apply the variants named in ``variants`` ("a,b"), in the order in which ``known`` lists them.

    Args:
      config: changed in place and returned.
      variants: names in any order, separated by commas.
      known: functions by variant, which change the config.
      exclusive: sets of variants that contradict each other.

    Raises:
      UnknownVariant: a variant that does not exist.
      UserError: two variants that contradict each other.
    """
    chosen = [name.strip() for name in variants.split(",") if name.strip()]
    for name in chosen:
        if name not in known:
            raise UnknownVariant("variant", name, known)
    for group in exclusive:
        both = sorted(group & set(chosen), key=chosen.index)
        if len(both) > 1:
            raise UserError(f"the variants {' and '.join(both)} contradict each other: choose one")
    for name, change in known.items():
        if name in chosen:
            change(config)
    return config


def recipes() -> list[Recipe]:
    """Return the shipped recipes with their variants: first those for `train`, then those for `sweep`."""
    found = []
    for name, file in shipped().items():
        tree = ast.parse(file.read_text())
        summary = (ast.get_docstring(tree) or "").partition("\n")[0]
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        verb, function = ("train", "get_config") if "get_config" in functions else ("sweep", "sweep")
        variants = _variants(file, function) if functions[function].args.args else ()
        found.append(Recipe(name, verb, variants, summary))
    return sorted(found, key=lambda recipe: recipe.verb != "train")


def _variants(file: Path, function: str) -> tuple[str, ...]:
    """Return the variants of a recipe, from its error about the variant ``?``, which no recipe has."""
    try:
        call(f"{file}:?", function, object)
    except UnknownVariant as error:
        return error.known
    return ()
