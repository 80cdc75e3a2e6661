"""Explain JAX's errors about devices in one line: too little memory, or a GPU that another process uses."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator

import jax

from alexnet_jax.errors import RunError, UserError, causes
from alexnet_jax.text import size_in_words

_AMOUNT = r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B\b| ?bytes)?"
# Texts of XLA and libtpu: what is needed, and sometimes what is available. RESOURCE_EXHAUSTED alone says
# little: XLA also raises it for the memory of a single kernel, and for pinned memory of the host.
_SHORTAGES = [
    re.compile(form.replace("AMOUNT", _AMOUNT), re.IGNORECASE | re.DOTALL)
    for form in (
        r"Used AMOUNT of AMOUNT hbm",
        r"HLO temporaries \(AMOUNT\) exceeds available HBM \(AMOUNT\)",
        r"Allocating AMOUNT exceeds the memory limit of AMOUNT",
        r"Attempting to \w+ AMOUNT\b.{0,80}?There are AMOUNT free",
        r"out of memory (?:while trying to allocate|allocating) AMOUNT",
        r"failed to allocate (?:request for )?AMOUNT(?=.*(?:on device ordinal|CUDA_ERROR_OUT_OF_MEMORY))",
    )
]
_SHORTAGE = re.compile("CUDA_ERROR_OUT_OF_MEMORY|CU(DNN|BLAS)_STATUS_ALLOC_FAILED|backend ran out of memory")

# CUDA's libraries fail in these ways if another process has left them no memory.
_IN_USE = re.compile(
    r"CUDA_ERROR_DEVICE_UNAVAILABLE|CUDA-capable devices? (?:are|is) busy or unavailable"
    r"|CUDA-capable device\(s\) is/are busy or unavailable"
    r"|CUDNN_STATUS_(?:NOT_INITIALIZED|INTERNAL_ERROR)|CUBLAS_STATUS_NOT_INITIALIZED"
    r"|(?:cuDevicePrimaryCtxRetain|cuInit)\b.{0,20}CUDA_ERROR_OUT_OF_MEMORY"
    r"|DNN library initialization failed|Failed to initialize (?:BLAS|BLASLT|DNN) support"
    r"|No (?:BLAS|DNN) support (?:for|in) stream|could(?: not|n't) (?:create|get) \w+ handle"
    r"|no supported devices found for platform CUDA"
    r"(?:: [^\n]{0,200}?(?:OUT_OF_MEMORY|UNAVAILABLE)|(?!: \S))",
    re.IGNORECASE,
)
# A kernel that fails makes all that follows fail, too.
_KERNEL_FAILED = re.compile("CUDA_ERROR_(?:ILLEGAL|LAUNCH)|illegal memory access", re.IGNORECASE)
_SHARE_GPU = (
    "find it with nvidia-smi and end it, choose another GPU with CUDA_VISIBLE_DEVICES=NUMBER, or start both"
    " with XLA_PYTHON_CLIENT_PREALLOCATE=false"
)


@dataclasses.dataclass(frozen=True)
class Shortage:
    """Too little memory on a device.

    Attributes:
      needed: bytes of the failed allocation, or of the whole program; None if the error does not say it.
      available: bytes that are available for it; None if this is not known.
    """

    needed: int | None = None
    available: int | None = None


def shortage(text: str) -> Shortage | None:
    """Read from the text of an error how much memory a device lacks. Return None for other errors."""
    for form in _SHORTAGES:
        if found := form.search(text):
            amounts = zip(found.groups()[::2], found.groups()[1::2], strict=True)
            return Shortage(*(_bytes(*amount) for amount in amounts))
    return Shortage() if _SHORTAGE.search(text) else None


def _bytes(number: str, unit: str) -> int:
    return int(float(number) * 1024 ** " KMGT".index(unit.upper() or " "))


def in_use(text: str) -> str | None:
    """Explain in a line that another process uses the GPU, and what to do. Return None for other errors."""
    found = _IN_USE.search(text)
    if found is None or _KERNEL_FAILED.search(text):
        return None
    certainly = "unavailable" in found[0].lower()
    return f"another process {'uses' if certainly else 'probably uses'} the GPU ({found[0]}): {_SHARE_GPU}"


def explain(error: BaseException, advice: Callable[[Shortage], str] | None = None) -> str | None:
    """Explain an error of JAX, or its cause, in a line. Return None if it is not about memory or a busy GPU.

    Args:
      error: any exception.
      advice: function that returns what to do if the memory of a device is too small.
    """
    cause = next((each for each in causes(error) if isinstance(each, jax.errors.JaxRuntimeError)), None)
    if cause is None:
        return None
    text = str(cause)
    found = shortage(text)
    if found is None or found.needed is None:
        if line := in_use(text):
            return line
        if found is None:
            return None
    device, stats = jax.local_devices()[0], _memory_stats()
    gpu, partial = device.platform == "gpu", False
    if found.available is None and stats:
        found = Shortage(found.needed, stats["bytes_limit"] - stats["bytes_in_use"])
        # JAX takes its memory from the GPU at its start, or piece by piece if that fails.
        partial = gpu and stats.get("pool_bytes", 0) < stats["bytes_limit"]
    line = f"out of memory on {device.device_kind}"
    if found.needed is not None:
        line += f": {size_in_words(found.needed)} needed"
        if found.available is not None and partial and found.needed <= found.available:
            return (
                f"{line}; JAX may take {size_in_words(found.available)} more, but the GPU has less, so"
                f" another process probably uses it: {_SHARE_GPU}"
            )
        if found.available is not None:
            line += f", {size_in_words(found.available)} available"
    line += f": {advice(found) if advice else 'use more devices, or devices with more memory'}"
    if gpu:
        line += (
            "; nvidia-smi shows whether another process uses the GPU, and"
            " XLA_CLIENT_MEM_FRACTION=0.95 lets JAX take more than 75 % of its memory"
        )
    return line


def _memory_stats() -> dict[str, int]:
    """Return JAX's figures of the fullest device of this process; empty if it has none, as on a CPU."""
    stats = [
        found for device in jax.local_devices() if "bytes_limit" in (found := device.memory_stats() or {})
    ]
    return min(stats, key=lambda s: s["bytes_limit"] - s["bytes_in_use"], default={})


@contextlib.contextmanager
def explained(advice: Callable[[Shortage], str] | None = None) -> Iterator[None]:
    """Raise a `RunError` of one line instead of an error that `explain` knows."""
    try:
        yield
    except (UserError, RunError):
        raise
    except Exception as error:
        line = explain(error, advice)
        if line is None:
            raise
        raise RunError(line) from error


def smaller_batch(batch_size: int, parts: int, found: Shortage) -> int:
    """Return a batch size to try: 0.9 x available / needed of the old one, or half if these are not known.

    The factor is less than 1 because the gradients of the parameters do not shrink with the batch.

    Args:
      batch_size: size that does not fit.
      parts: number of equal parts that the mesh splits the batch into. The result is a multiple of it.
      found: the shortage.
    """
    share = 0.5
    if found.needed and found.available is not None and found.available < found.needed:
        share = 0.9 * found.available / found.needed
    each = batch_size // parts
    unit = 2 ** max(0, each.bit_length() - 5)  # a round number: within a sixteenth of the batch
    return parts * max(1, int(each * share) // unit * unit)
