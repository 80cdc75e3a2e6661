"""Errors about the memory of devices and about busy GPUs, with the messages of XLA, CUDA and libtpu."""

import types

import jax
import jax.numpy as jnp
import pytest

from alexnet_jax.errors import RunError, UserError
from alexnet_jax.runtime import device_errors
from alexnet_jax.runtime.device_errors import Shortage, explain, explained, shortage, smaller_batch

GIB = 2**30
EXHAUSTED = "RESOURCE_EXHAUSTED: "
ALLOCATE = f"{EXHAUSTED}Out of memory while trying to allocate "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{ALLOCATE}4770354232 bytes.", Shortage(4770354232)),
        (
            f"{ALLOCATE}1.50GiB.: while running replica 0 and partition 0 of a replicated computation (other"
            " replicas may have failed as well).",
            Shortage(3 * GIB // 2),
        ),
        (
            f"{ALLOCATE}6291456 bytes.\nBufferAssignment OOM Debugging.\nBufferAssignment stats:\n"
            "             parameter allocation:    6.00MiB\n",
            Shortage(6291456),
        ),
        (f"{EXHAUSTED}Out of memory allocating 70368744177664 bytes.", Shortage(2**46)),
        (
            f"{EXHAUSTED}Failed to allocate request for 2.00GiB (2147483648B) on device ordinal 0",
            Shortage(2 * GIB),
        ),
        (
            "INTERNAL: failed to allocate 528.00M (553648128 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY:"
            " out of memory",
            Shortage(528 * 2**20),
        ),
        (
            "UNKNOWN: Failed to determine best cudnn convolution algorithm for:\n%cudnn-conv-bias-activation"
            " = (f32[1,64,1200,1200]{3,2,1,0}, u8[0]{0}) custom-call(...)\n\n"
            f"Original error: {ALLOCATE}9680453632 bytes.\n\nTo ignore this failure and try to use a fallback"
            " algorithm, use XLA_FLAGS=--xla_gpu_strict_conv_algorithm_picker=false.",
            Shortage(9680453632),
        ),
        ("UNKNOWN: CUDNN_STATUS_ALLOC_FAILED", Shortage()),
        (
            "INTERNAL: Underlying backend ran out of memory trying to instantiate command buffer with 12"
            " (total of 3 alive graphs in the process).",
            Shortage(),
        ),
        (
            f"{EXHAUSTED}Allocating 2147483648 bytes exceeds the memory limit of 1073741824 bytes.",
            Shortage(2 * GIB, GIB),
        ),
        (
            f"{EXHAUSTED}XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 22.00G"
            " of 15.50G hbm.\n Exceeded hbm capacity by 6.50G.\n\nTotal hbm usage >= 22.47G:\n",
            Shortage(22 * GIB, 31 * GIB // 2),
        ),
        (
            f"{EXHAUSTED}Attempting to reserve 3.00G at the bottom of memory. That was not possible. There"
            " are 1.50G free, 0B reserved, and 1.50G reservable.",
            Shortage(3 * GIB, 3 * GIB // 2),
        ),
        (
            f"{EXHAUSTED}Error allocating device buffer: Attempting to allocate 3.00M. That was not possible."
            " There are 2.00M free.; (0x0x0_HBM0)",
            Shortage(3 * 2**20, 2 * 2**20),
        ),
        (
            f"{EXHAUSTED}Ran out of memory on HBM, the total memory required for HLO temporaries (20.00G)"
            " exceeds available HBM (16.00G). HLO module: jit_update.",
            Shortage(20 * GIB, 16 * GIB),
        ),
    ],
)
def test_a_shortage_is_read_from_the_text(text, expected):
    assert shortage(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        f"{EXHAUSTED}Shared memory size limit exceeded: requested 262144, available: 232448",
        f"{EXHAUSTED}Ran out of memory in memory space vmem. Used 20.00M of 16.00M vmem. Exceeded vmem"
        " capacity by 4.00M.",
        f"{EXHAUSTED}Failed to allocate a 1048576-byte pinned host staging buffer for a host-to-device"
        " transfer.",
        f"{EXHAUSTED}Received message larger than max (5000000 vs. 4194304)",
        "INTERNAL: NCCL operation ncclGroupEnd() failed: unhandled cuda error",
        "INTERNAL: no supported devices found for platform CUDA: compute capability 5.0 is insufficient",
        "INTERNAL: CUDNN_STATUS_INTERNAL_ERROR; CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access",
    ],
)
def test_other_errors_are_not_explained(text):
    error = jax.errors.JaxRuntimeError(text)
    assert shortage(text) is None
    assert explain(error) is None
    with pytest.raises(jax.errors.JaxRuntimeError), explained(str):
        raise error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "INTERNAL: no supported devices found for platform CUDA: failed call to cuDevicePrimaryCtxRetain:"
            " CUDA_ERROR_OUT_OF_MEMORY: out of memory; total memory reported: 34089730048",
            "probably uses",
        ),
        (
            "INTERNAL: CUDA error: Failed call to cuInit: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
            "probably uses",
        ),
        (
            "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above.",
            "probably uses",
        ),
        ("INTERNAL: Failed to initialize DNN support for CuDnnThunk", "probably uses"),
        ("INTERNAL: No BLAS support in stream.", "probably uses"),
        ("INTERNAL: no supported devices found for platform CUDA", "probably uses"),
        ("INTERNAL: Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR", "probably uses"),
        ("INTERNAL: failed to create cublas handle: CUBLAS_STATUS_NOT_INITIALIZED", "probably uses"),
        (
            "INTERNAL: CUDA error: cuDevicePrimaryCtxRetain: CUDA_ERROR_DEVICE_UNAVAILABLE: CUDA-capable"
            " device(s) is/are busy or unavailable",
            "another process uses the GPU (CUDA_ERROR_DEVICE_UNAVAILABLE)",
        ),
        ("all CUDA-capable devices are busy or unavailable", "another process uses the GPU"),
    ],
)
def test_a_gpu_that_another_process_uses(text, reason):
    line = explain(jax.errors.JaxRuntimeError(text))
    assert reason in line
    assert "\n" not in line
    for part in ("nvidia-smi", "CUDA_VISIBLE_DEVICES=", "XLA_PYTHON_CLIENT_PREALLOCATE=false"):
        assert part in line


@pytest.fixture
def gpu(monkeypatch):
    """A function that simulates a GPU with some memory in use."""

    def simulate(limit, in_use, pool):
        stats = {"bytes_in_use": in_use, "pool_bytes": pool} | ({"bytes_limit": limit} if limit else {})
        device = types.SimpleNamespace(
            platform="gpu",
            device_kind="NVIDIA H100 80GB HBM3",
            memory_stats=lambda: stats,
        )
        monkeypatch.setattr(device_errors.jax, "local_devices", lambda: [device])

    return simulate


def test_the_line_has_the_bytes_needed_and_available_and_what_to_do(gpu):
    gpu(64 * 10**9, 4 * 10**9, 64 * 10**9)
    error = jax.errors.JaxRuntimeError(f"{ALLOCATE}80000000000 bytes.")
    line = explain(error, lambda found: f"take {smaller_batch(2048, 1, found)}")
    assert line.startswith(
        "out of memory on NVIDIA H100 80GB HBM3: 80 GB needed, 60 GB available: take 1280; "
    )
    assert "nvidia-smi" in line
    assert "XLA_CLIENT_MEM_FRACTION=0.95" in line


def test_a_gpu_may_not_report_its_limit(gpu):
    gpu(None, 10**9, 10**9)
    line = explain(jax.errors.JaxRuntimeError(f"{ALLOCATE}2000000000 bytes."), lambda _: "take less")
    assert "2 GB needed: take less; nvidia-smi" in line


def test_memory_that_jax_does_not_get_is_blamed_on_another_process(gpu):
    gpu(60 * 10**9, 10**9, 2 * 10**9)
    line = explain(jax.errors.JaxRuntimeError(f"{ALLOCATE}2000000000 bytes."))
    assert "2 GB needed; JAX may take 59 GB more, but the GPU has less, so another process probably" in line
    assert "CUDA_VISIBLE_DEVICES" in line


def test_fragmented_memory_is_not_blamed_on_another_process(gpu):
    gpu(60 * 10**9, 10**9, 60 * 10**9)
    line = explain(jax.errors.JaxRuntimeError(f"{ALLOCATE}58000000000 bytes."), lambda _: "take less")
    assert "58 GB needed, 59 GB available: take less; nvidia-smi" in line


def test_the_figures_of_the_compiler_are_preferred(gpu):
    gpu(60 * 10**9, 0, 60 * 10**9)
    text = "RESOURCE_EXHAUSTED: Allocating 2000000000 bytes exceeds the memory limit of 1000000000 bytes."
    assert "2 GB needed, 1 GB available: use more devices" in explain(jax.errors.JaxRuntimeError(text))


def test_an_allocation_that_is_too_large_is_reported_in_one_line():
    with (
        pytest.raises(RunError, match=r"^out of memory on cpu: 70.4 TB needed: take less$"),
        explained(lambda _: "take less"),
    ):
        jnp.zeros(2**46, jnp.uint8)


def test_an_error_with_such_a_cause_is_explained():
    error = ValueError("the array can't be restored")
    error.__cause__ = jax.errors.JaxRuntimeError(f"{EXHAUSTED}Out of memory allocating 1000 bytes.")
    assert explain(error).startswith("out of memory on cpu: 1 kB needed")


def test_an_error_of_this_project_is_not_replaced():
    error = UserError("mine")
    error.__cause__ = jax.errors.JaxRuntimeError(f"{EXHAUSTED}Out of memory allocating 1000 bytes.")
    with pytest.raises(UserError, match="mine"), explained(str):
        raise error


@pytest.mark.parametrize(
    ("batch_size", "parts", "found", "expected"),
    [
        (2048, 1, Shortage(), 1024),
        (128, 1, Shortage(100), 64),
        (128, 8, Shortage(100, 200), 64),  # the figures contradict the error
        (2048, 1, Shortage(100, 80), 1408),
        (2048, 8, Shortage(100, 80), 1408),
        (128, 2, Shortage(100, 80), 88),
        (24, 8, Shortage(), 8),
        (8, 8, Shortage(100, 1), 8),  # no smaller batch is possible
        (100, 1, Shortage(100, 0), 1),
    ],
)
def test_a_batch_size_to_try(batch_size, parts, found, expected):
    size = smaller_batch(batch_size, parts, found)
    assert size % parts == 0
    assert size == expected
