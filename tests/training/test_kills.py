"""Every checkpoint that is left by a killed run has the bits that were saved."""

import multiprocessing
import random
import secrets
import time

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.files import absolute
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import TrainState
from alexnet_jax.training.tally import Tally

SHAPES = {"kernel": (300, 100), "bias": (100,)}


def state_at(step):
    """Return a small state that is a function of the step."""
    draws = np.random.default_rng(step)
    arrays = {name: draws.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    everywhere = NamedSharding(make_mesh(1, 1), P())
    return jax.device_put(TrainState(np.int32(step), {"fc": arrays}, {"trace": arrays}), everywhere)


def save_until_killed(workdir, ready):
    with CheckpointWriter(absolute(workdir), keep=2) as checkpoints:
        restored = checkpoints.restore_last(state_at(0), print)
        step = restored[0] if restored else 0
        ready.set()
        while True:
            step += 1
            checkpoints.save(step, state_at(step), Plateau(reductions=step), 1 / (1 + step % 7), Tally())


def check_all(workdir):
    """Compare each checkpoint with what was saved at its step, and return the steps."""
    abstract = state_at(0)
    with Checkpoints(absolute(workdir)) as checkpoints:
        for step in checkpoints.steps():
            record, restored = checkpoints.restore(step, params=abstract.params, opt_state=abstract.opt_state)
            assert (record.plateau.reductions, record.top1_error) == (step, 1 / (1 + step % 7))
            assert record.tally == Tally()
            expected = state_at(step)
            expected = {"params": expected.params, "opt_state": expected.opt_state}
            jax.tree.map(np.testing.assert_array_equal, restored, expected)
        return checkpoints.steps()


@pytest.mark.slow
def test_thirty_kills_while_saving_leave_only_intact_checkpoints(tmp_path):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])  # imports JAX once
    found = [[]]
    for _ in range(30):
        ready = processes.Event()
        process = processes.Process(target=save_until_killed, args=(tmp_path, ready))
        process.start()
        assert ready.wait(60)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.join()
        found.append(check_all(tmp_path))
        assert max(found[-1], default=0) >= max(found[-2], default=0)
    assert max(found[-1]) > 1
