"""A plan: the counts of the compiler, the estimates from them, and unknown topologies."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import jax
import pytest

from alexnet_jax import UserError, build, get_config
from alexnet_jax.cli.main import main
from alexnet_jax.layers import LRN, Conv
from alexnet_jax.net.ops import conv
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.plan import batches, hlo, plan
from alexnet_jax.plan import tables as plan_tables
from alexnet_jax.plan.chips import chip_of, devices_of
from alexnet_jax.runtime.chips import CHIPS
from alexnet_jax.training import step
from alexnet_jax.training.flops import flops_per_image
from tests.conftest import CONFIGS, RECIPES

TINY = f"--config={RECIPES / 'tiny.py'}"
PER_DEVICE = {"argument_bytes", "temp_bytes", "peak_bytes", "capacity_bytes", "flops", "bytes_accessed"}


@pytest.fixture
def wide(tiny):
    """A config whose batch can be split over eight devices."""
    tiny.batch_size, tiny.mesh = 64, (-1, -1)
    return tiny


@pytest.fixture
def v5e(libtpu):
    return devices_of("v5e:2x4")


def run(capsys, *args):
    status = main(["plan", TINY, "--config.mesh=(-1, -1)", "--config.batch_size=64", *args])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_json_has_every_key(libtpu, capsys, tmp_path):
    file = tmp_path / "plan.json"
    status, out, _ = run(capsys, "--topology=v5e:2x4", f"--json={file}")
    assert status == 0
    found = json.loads(file.read_text())
    assert (found["topology"], found["devices"]) == ("v5e:2x4", 8)
    assert found["device_kind"] == "TPU v5 lite"
    assert set(found["mesh"]) == {"data", "tower"}
    assert found["mesh"]["data"] * found["mesh"]["tower"] == 8
    assert (found["parallelism"], found["global_batch"], found["fits"]) == ("towers", 64, True)
    assert set(found["per_device"]) == PER_DEVICE
    assert all(value > 0 for name, value in found["per_device"].items() if name != "temp_bytes")
    assert found["per_device"]["capacity_bytes"] == 16 * 2**30
    assert {tuple(sorted(c)) for c in found["collectives"]} == {("axes", "bytes", "kind", "layers", "pass")}
    assert set(found["estimate"]) == {"step_seconds", "images_per_second", "bound_by", "run_hours"}
    assert found["estimate"]["run_hours"] == pytest.approx(40 * found["estimate"]["step_seconds"] / 3600)
    assert "bound by" in out
    assert "compiler" in out
    assert "ours" in out


def test_a_cpu_has_neither_counts_nor_an_estimate(wide):
    planned = plan.plan(wide, "cpu:8", chip_of("cpu:8"), make_mesh(4, 2))
    assert planned.hbm_bytes is None
    found = planned.to_json()
    assert found["per_device"]["flops"] is found["per_device"]["bytes_accessed"] is None
    assert found["per_device"]["temp_bytes"] > 0
    assert found["per_device"]["capacity_bytes"] is None
    assert found["fits"] is None
    assert set(found["estimate"].values()) == {None}
    assert "no estimate of time" in plan_tables.table(plan.plan(wide, "cpu:8", None, make_mesh(4, 2)))


def test_the_flops_of_the_compiler_are_near_ours(monkeypatch):
    """The network has no LRN, whose sums XLA counts too, and no padding, whose products XLA omits."""
    monkeypatch.setattr(conv, "conv", conv._conv)  # without its loop, of which XLA counts one round
    monkeypatch.setattr(step, "compiler_options", lambda *_: {})  # XLA does not look into oneDNN
    config = get_config(str(CONFIGS / "alexnet.py"))
    config.batch_size = 1024
    config.net.layers = tuple(
        dataclasses.replace(x, padding=(0, 0)) if isinstance(x, Conv) else x
        for x in config.net.layers
        if not isinstance(x, LRN)
    )
    costs = plan.compile_step(build(config), config, make_mesh(4, 2)).cost_analysis()
    assert costs["flops"] * 8 == pytest.approx(flops_per_image(config) * config.batch_size, rel=0.03)


def test_compare_has_every_mesh_and_strategy_and_names_the_best(wide, v5e):
    plans = plan.compare(wide, "v5e:2x4", CHIPS["v5e"], v5e)
    assert {(p.mesh["data"], p.mesh["tower"], p.parallelism) for p in plans} == {
        (8, 1, "towers"), (4, 2, "towers"), (8, 1, "one_weird_trick"), (4, 2, "one_weird_trick"),
    }  # fmt: skip
    for each in plans:
        assert 0 < each.hbm_bytes < each.bytes_accessed  # the rest is on the chip
        assert each.seconds["memory"] == each.hbm_bytes / CHIPS["v5e"].bandwidth
    best = plan.best_of(plans)
    assert best.step_seconds == min(p.step_seconds for p in plans)
    text = plan_tables.comparison(plans)
    assert f"best: mesh data {best.mesh['data']} x tower {best.mesh['tower']}, {best.parallelism}" in text
    assert f"bound by {best.bound_by}" in text


def test_a_tpu_scatters_the_gradients_of_what_it_gathered(wide, v5e):
    """XLA for TPUs makes an all-reduce of a reduce-scatter along the last axis, and sends twice as much."""
    found = plan.plan(wide, "v5e:2x4", CHIPS["v5e"], make_mesh(4, 2, v5e)).collectives
    gathered = [each.layers for each in found if (each.kind, each.axes) == ("all-gather", ("tower",))]
    scattered = [each.layers for each in found if (each.kind, each.axes) == ("reduce-scatter", ("tower",))]
    assert sorted(gathered) == sorted(scattered) != []


def test_larger_batches_name_the_recipe_that_they_need(wide, v5e, monkeypatch):
    monkeypatch.setattr(batches, "training_examples", lambda config: None)
    wide.batch_size = 512
    mesh = make_mesh(8, 1, v5e)
    best = plan.plan(wide, "v5e:2x4", CHIPS["v5e"], mesh)
    plans = batches.larger_batches(wide, "v5e:2x4", CHIPS["v5e"], v5e, best)
    assert [p.global_batch for p in plans] == [512, 2048, 8192, 32_768]
    assert [p.mesh for p in plans] == [best.mesh] * 4
    rows = plan_tables.batch_sizes(plans, wide).splitlines()
    assert [row.endswith("batch_norm,lars") for row in rows[3:7]] == [False, True, True, True]
    assert rows[-1].startswith("Above 1,024 images AlexNet is not expected to reach its error")
    assert "batch_norm" not in plan_tables.batch_sizes(plans, get_config("cifar10:towers,batch_norm,lars"))


def test_batches_end_at_the_number_of_training_examples(wide, v5e, monkeypatch):
    monkeypatch.setattr(batches, "training_examples", lambda config: 9_469)
    wide.batch_size = 4096
    best = plan.plan(wide, "v5e:2x4", CHIPS["v5e"], make_mesh(8, 1, v5e))
    assert batches.larger_batches(wide, "v5e:2x4", CHIPS["v5e"], v5e, best) == [best]


@pytest.mark.parametrize(
    ("recipe", "size", "missing"),
    [
        ("cifar10:towers", 1024, ""),
        ("cifar10:towers", 1025, "batch_norm,lars"),
        ("cifar10:towers,lars", 2048, "batch_norm"),
        ("cifar10:towers,batch_norm", 2048, "lars"),
        ("cifar10:towers,batch_norm,lars", 32_768, ""),
    ],
)
def test_the_variants_that_a_batch_needs(recipe, size, missing):
    assert batches.missing_variants(get_config(recipe), size) == missing


def test_a_plan_that_does_not_fit_comes_first(wide, v5e):
    wide.data.image_size, wide.data.crop_size, wide.batch_size = 512, 511, 8 * 4096
    found = plan.plan(wide, "v5e:2x4", CHIPS["v5e"], make_mesh(8, 1, v5e))
    assert found.fits is False
    assert found.peak_bytes > found.capacity_bytes
    assert "DOES NOT FIT" in plan_tables.table(found).splitlines()[1]
    small = plan.plan(restored(wide), "v5e:2x4", CHIPS["v5e"], make_mesh(4, 2, v5e))
    rows = plan_tables.comparison([small, found]).splitlines()
    assert "DOES NOT FIT" in rows[3]
    assert plan.best_of([small, found]) is small
    assert plan.best_of([found]) is None


@pytest.mark.parametrize(
    ("text", "peak"),
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 32.00G of 15.48G hbm.", 32 * 2**30),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes.", 32 * 2**30),
    ],
)
def test_the_peak_of_a_step_that_does_not_fit_is_read_from_the_error(wide, monkeypatch, text, peak):
    def fail(*args):
        raise jax.errors.JaxRuntimeError(text)

    monkeypatch.setattr(plan, "compile_step", fail)
    found = plan.plan(wide, "v5e:2x4", CHIPS["v5e"], make_mesh(8, 1))
    assert (found.fits, found.peak_bytes) == (False, peak)
    assert plan_tables.table(found).splitlines()[1] == (
        "DOES NOT FIT: each device needs 34.4 GB, and has 17.2 GB: try --config.batch_size=24, or more"
        " devices"
    )
    assert "no published peaks" not in plan_tables.table(found)


def restored(config):
    config.data.image_size, config.data.crop_size, config.batch_size = 8, 7, 64
    return config


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5e:3x5", r"does not exist: the nearest are v5e:4x4"),
        ("v5e:2x2x2", r"does not exist: the nearest are v5e:2x4"),
        ("v5p:4x4", r"does not exist: the nearest are v5p:2x2x4"),
        ("v5:2x4", r"does not exist: the nearest are v5e:2x4"),
        ("v5e-8", r"does not exist: the nearest are v5e:2x4"),
        ("v9:2x2", r"the kinds are v4, v5e, v5p, v6e, tpu7x, h100, cpu"),
        ("h100:12", r"does not exist: the nearest are h100:8, h100:16"),
        ("h200:8", r"does not exist: the nearest are h100:8"),
        ("cpu:none", r"does not exist: the nearest are cpu:"),
        ("", r"--topology=SLICE \(v5e:2x4, .*\) is missing"),
    ],
)
def test_an_unknown_topology_is_refused_with_the_nearest_ones(capsys, topology, message):
    status, _, err = run(capsys, f"--topology={topology}")
    assert status == 2
    assert len(err.splitlines()) == 1
    assert re.search(message, err), err


def test_a_mesh_that_leaves_devices_idle_is_refused(capsys):
    status, _, err = run(capsys, "--topology=cpu:8", "--config.mesh=(2, 1)")
    assert status == 2
    assert "uses 2 of cpu:8's 8 devices: set --config.mesh='(-1, -1)'" in err


def test_a_batch_that_the_devices_cannot_split_is_refused(capsys, libtpu):
    status, _, err = run(capsys, "--topology=v5e:16x16")
    assert status == 2
    assert "can't be split over 256 devices: take a multiple of 256" in err


@pytest.mark.slow
def test_without_a_compiler_the_error_names_the_extra(tmp_path):
    """A separate process finds neither libtpu nor the CUDA plugin."""
    script = (
        "import sys; sys.modules['libtpu'] = None; sys.modules['jax_plugins'] = None\n"
        "from alexnet_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    for topology, extra in (("v5e:2x2", "'.[tpu]'"), ("h100:8", "'.[plan-h100]'")):
        done = subprocess.run(
            [sys.executable, "-c", script, "plan", TINY, f"--topology={topology}"],
            env={"PATH": "", "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith("alexnet-jax: planning for ")
        assert extra in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def h100():
    """XLA's compiler for GPUs, with all its optimizations. It needs neither CUDA nor a GPU."""
    if find_spec("jax_cuda13_plugin") is None:
        message = "XLA's GPU compiler is not installed: make test-h100 downloads it"
        pytest.fail(message) if os.environ.get("ALEXNET_JAX_H100") else pytest.skip(message)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
def test_a_step_compiles_for_h100s(wide, h100):
    found = plan.plan(wide, "h100:8", CHIPS["h100"], make_mesh(4, 2, devices_of("h100:8"))).to_json()
    assert found["device_kind"] == "NVIDIA H100 80GB HBM3"
    assert found["per_device"]["flops"] is None
    assert found["fits"] is True
    assert found["estimate"]["step_seconds"] > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="jax-triton needs Python 3.12")
def test_the_step_of_the_papers_network_for_h100s_uses_our_kernels(h100):
    config = get_config(f"{CONFIGS / 'alexnet.py'}:bf16")
    config.batch_size = 1024
    compiled = plan.compile_step(build(config), config, make_mesh(1, 1, devices_of("h100:1")))
    program = hlo.parse(compiled.as_text())
    kernels = [i for i in program.values() if 'target="triton_kernel_call_ffi"' in i.attributes]
    assert len(kernels) == 2 * (2 + 3 + 3)  # in each tower: LRN, pooling, and the gradients of both
    # 16.7 GB with jax 0.12.0.1, and 49 GB without the kernels.
    assert hlo.hbm_bytes(program, has_vmem=False) < 20e9

    def of_images(*opcodes):
        found = [i.arrays[0].shape for i in program.values() if i.opcode in opcodes]
        return [shape for shape in found if len(shape) > 2 and config.batch_size in shape]

    assert of_images("scatter", "select-and-scatter") == []  # slow gradients of pooling
    assert len(of_images("transpose", "copy")) <= 1  # conv1 reads the images in blocks of pixels


@pytest.mark.slow
def test_a_deterministic_step_compiles_for_h100s(wide, h100):
    """As with ``XLA_FLAGS=--xla_gpu_deterministic_ops=true``. cuBLAS needs a GPU to list its algorithms."""
    lowered = step.lower_train_step(build(wide), wide, make_mesh(1, 1, devices_of("h100:1")))
    options = {"xla_gpu_deterministic_ops": True, "xla_gpu_enable_triton_gemm": False}
    assert "__cudnn$conv" in lowered.compile(compiler_options=options).as_text()


def test_topologies_have_the_right_number_of_devices(libtpu):
    for topology, count in {
        "v5e:1x1": 1,
        "v5e:16x16": 256,
        "v5p:4x4x8": 128,
        "v6e:2x4": 8,
        "v4:2x2x2": 8,
    }.items():
        assert len(devices_of(topology)) == count
    assert len(devices_of("tpu7x:2x2x1")) == 8  # two devices a chip


def test_a_topology_has_the_figures_of_its_chip():
    assert chip_of("v5p:4x4x8") is CHIPS["v5p"]
    assert chip_of("cpu:8") is None
    with pytest.raises(UserError, match="does not exist"):
        devices_of("v5e")
