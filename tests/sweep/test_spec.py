"""Sweeps of recipes: those of the package are valid, and an invalid one is refused in one line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from alexnet_jax import UserError
from alexnet_jax.config.validate import validate
from alexnet_jax.sweep import directory as sweep_directory
from alexnet_jax.sweep import spec as sweep_spec
from alexnet_jax.sweep import tasks as sweep_tasks
from tests.conftest import CONFIGS
from tests.sweep.conftest import refused, words, write_sweep


def sweeps():
    """Yield all sweeps of the package as FILE:NAME. The error for an unknown name lists the known ones."""
    for file in sorted(CONFIGS.glob("*.py")):
        if "def sweep(" in file.read_text():
            try:
                sweep_spec.load(f"{file}:no_such_sweep")
            except UserError as error:
                names = str(error).partition("there are ")[2]  # empty if it takes no variants
                yield from (f"{file}:{name}" for name in names.split(", "))


@pytest.mark.parametrize("path", list(sweeps()), ids=lambda path: Path(path).name)
def test_every_sweep_of_the_package_has_valid_tasks_and_is_read_back(path, tmp_path):
    sweep = sweep_spec.load(path)
    tasks = sweep_tasks.tasks(path, sweep, epath.Path(tmp_path), [])
    assert len({task.directory for task in tasks}) == len(tasks) > 0
    for task in tasks:
        seen = tasks[: tasks.index(task)]
        assert all(net in seen for net in task.needs)
        if task.config is not None:
            validate(task.config)
            assert task.directory.name.endswith(f"-seed{task.config.seed}")
    sweep_directory.write(epath.Path(tmp_path), path, sweep, [])
    assert sweep_directory.read(epath.Path(tmp_path)) == sweep


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(Member('a', TINY + ':nothere'),)", "a: no variant nothere; there are plateau"),
        ("(Member('a', 'nothere.py'),)", "a: no config file"),
        ("(Member('a', TINY, {'optimizer.learning_rat': 1}),)", "did you mean optimizer.learning_rate"),
        ("(Member('a', TINY, {'optimizer.learning_rate': 'fast'}),)", "takes a number, not 'fast'"),
        ("(Member('a', TINY, {'data.crop_size': 9}),)", "a: config.data.crop_size is 9"),
        ("(Member('base', TINY), Member('a', TINY, init_from='bass'))", "no member bass (did you mean base"),
        ("(Member('a', TINY, init_from='b'), Member('b', TINY))", "not trained before it with this seed"),
        ("(Member('b', TINY, seeds=(1,)), Member('a', TINY, init_from='b'))", "a, seed 0, starts from b"),
        ("(Member('a', TINY, init_from='a'),)", "not trained before it"),
        ("(Member('a b', TINY), Member('a-b', TINY))", "two rows or networks of the sweep are named a-b"),
        ("(Member('a', TINY),), ensembles=(Ensemble('a', ('a',)),)", "are named a"),
        ("(Member('a', TINY),), seeds=(0, 0)", "are named a-seed0"),
        ("(Member('a', TINY),), ensembles=(Ensemble('all', ('a', 'c')),)", "no member c"),
        ("(Member('a', TINY),), baseline='b'", "no member b"),
        ("()", "the sweep has no members"),
        ("(Member('a', TINY, seeds=()),)", "a has no seeds"),
        ("(Member('a', TINY),), seeds=()", "a has no seeds"),
        ("(Member('a', TINY),), ensembles=(Ensemble('all', ()),)", "the ensemble all has no members"),
        ("(Member('a', TINY),), views=5", "views of the sweep is 5, but must be 1 or 10"),
        ("(Member('a', TINY),), vews=5", "vews"),
    ],
)  # fmt: skip
def test_an_invalid_sweep_is_one_line_and_writes_nothing(text, message, tmp_path, capfd):
    file = write_sweep(tmp_path / "mine.py", text)
    err = refused(capfd, words(file, tmp_path / "sweep", tmp_path))
    assert message in err
    assert "mine.py" in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]


def test_a_sweep_may_have_numbers_of_numpy():
    settings = {"optimizer.learning_rate": np.float64(0.1), "schedule.boundaries": (np.float64(1.5),)}
    member = sweep_spec.Member("a", "tiny.py", settings, seeds=np.arange(2))
    sweep = sweep_spec.Sweep((member,), seeds=np.arange(3))
    assert json.loads(json.dumps(dataclasses.asdict(sweep)))["seeds"] == [0, 1, 2]
    assert repr(member.settings) == "{'optimizer.learning_rate': 0.1, 'schedule.boundaries': (1.5,)}"
    assert sweep_spec.directories(member, sweep) == ["a-seed0", "a-seed1"]
