"""Time our networks in PyTorch, in the modes that the arguments select.

    pip install torch
    python benchmarks/peers/pytorch.py [--what=train] [--dtype=float32] [--mode=channels_last+compile+plain]
    python benchmarks/peers/pytorch.py --dtype=float32,tf32,bfloat16 --mode=eager --batch_size=128,1024

``benchmarks/against_pytorch.py`` runs all modes on a CPU, ``benchmarks/gpu.py`` some on a GPU. A step does
what ours does: views from uint8 images, the loss, its gradient, and the update with momentum and decay. One
process measures every combination of the lists. If one fails, its error is printed and the next one follows.

A mode is ``eager``, or words joined by ``+``:

channels_last: activations and kernels in the order batch, height, width, channels.
compile: `torch.compile`. On a GPU, views and loss are part of the compiled function.
max_autotune: the same with ``mode="max-autotune"``, which times kernels and uses CUDA graphs.
cudnn_benchmark: cuDNN times its algorithms and takes the fastest.
hand: LRN by hand instead of PyTorch's. The sum over neighbours is a product with a banded matrix, and the
    gradient is in closed form. For CPUs.
plain: LRN as sums of shifted arrays, which the compiler fuses. For ``compile`` on GPUs.
"""

import argparse
import functools
import gc
import importlib.metadata
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch._inductor.config
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

NEIGHBOURS, ALPHA = 5, 1e-4
WORDS = {"eager", "channels_last", "compile", "max_autotune", "cudnn_benchmark", "hand", "plain"}
DTYPES = ("float32", "tf32", "bfloat16")


def library_lrn(x: Tensor) -> Tensor:
    """Compute LRN in each tower. PyTorch divides alpha by the window, the paper does not."""
    return torch.cat(
        [F.local_response_norm(t, NEIGHBOURS, NEIGHBOURS * ALPHA, k=2.0) for t in x.chunk(2, 1)], 1
    )


def plain_lrn(x: Tensor) -> Tensor:
    """Compute LRN in float32 from shifted copies of the squares."""
    towers = x.float().unflatten(1, (2, -1))
    padded = F.pad(towers * towers, (0, 0, 0, 0, NEIGHBOURS // 2, NEIGHBOURS // 2))
    scale = 2 + ALPHA * sum(padded[:, :, i : i + towers.shape[2]] for i in range(NEIGHBOURS))
    root = torch.rsqrt(scale)
    return (towers * root * torch.sqrt(root)).flatten(1, 2).to(x.dtype)


def over_neighbours(x: Tensor) -> Tensor:
    """Sum over five channels of the same tower, as a 1x1 convolution."""
    channels = torch.arange(x.shape[1], device=x.device)
    near = (channels[:, None] - channels).abs() <= NEIGHBOURS // 2
    same_tower = channels[:, None] * 2 // len(channels) == channels * 2 // len(channels)
    return F.conv2d(x, (near & same_tower).to(x.dtype)[:, :, None, None])


class HandLRN(torch.autograd.Function):
    """Compute x * (2 + alpha * sum)^-0.75, and keep what its gradient needs."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        scale = 2 + ALPHA * over_neighbours(x * x)
        root = torch.rsqrt(scale)
        power = root * torch.sqrt(root)
        ctx.save_for_backward(x, scale, power)
        return x * power

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> Tensor:
        x, scale, power = ctx.saved_tensors
        return g * power - 1.5 * ALPHA * x * over_neighbours(g * x * power / scale)


class Paper(nn.Module):
    """The network of configs/alexnet.py; towers are groups."""

    def __init__(self, lrn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.lrn = lrn
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6, self.fc7 = nn.Linear(9216, 4096), nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)
        for name, layer in self.named_children():
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, float(name in ("conv2", "conv4", "conv5", "fc6", "fc7")))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.lrn(F.relu(self.conv1(F.pad(x, (0, 3, 0, 3))))), 3, 2)
        x = F.max_pool2d(self.lrn(F.relu(self.conv2(x))), 3, 2)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.max_pool2d(F.relu(self.conv5(x)), 3, 2).flatten(1)
        x = F.dropout(F.relu(self.fc6(x)), 0.5, self.training)
        x = F.dropout(F.relu(self.fc7(x)), 0.5, self.training)
        return self.fc8(x)


class Cifar(nn.Module):
    """The networks ``quick`` and ``lrn18`` (with normalization within channels) of configs/cifar10.py."""

    def __init__(self, lrn18: bool) -> None:
        super().__init__()
        self.lrn18 = lrn18
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.hidden = nn.Identity() if lrn18 else nn.Sequential(nn.Linear(1024, 64), nn.ReLU())
        self.fc10 = nn.Linear(1024 if lrn18 else 64, 10)

    def norm(self, x: Tensor) -> Tensor:
        if not self.lrn18:
            return x
        root = torch.rsqrt(1 + 5e-5 * F.avg_pool2d(x * x, 3, 1, 1))
        return x * root * torch.sqrt(root)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.max_pool2d(F.relu(self.conv1(x)), 3, 2, ceil_mode=True))
        x = self.norm(F.avg_pool2d(F.relu(self.conv2(x)), 3, 2, ceil_mode=True))
        x = F.avg_pool2d(F.relu(self.conv3(x)), 3, 2, ceil_mode=True)
        return self.fc10(self.hidden(x.flatten(1)))


def looped_views(images: Tensor, mean: Tensor, color: Tensor, size: int) -> Tensor:
    """Crop, mirror half of the images, subtract the mean and shift the colours, in place. For CPUs."""
    count, slack = len(images), images.shape[1] - size
    tops, lefts = torch.randint(0, slack + 1, (2, count)).tolist()
    mirrored = (torch.rand(count) < 0.5).tolist()
    views = torch.empty(count, size, size, 3)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        crop, its_mean = (x[top : top + size, left : left + size] for x in (images[i], mean))
        if mirrored[i]:
            crop, its_mean = crop.flip(1), its_mean.flip(1)
        torch.sub(crop, its_mean, out=views[i])
    return views.add_((0.1 * torch.randn(count, 3) @ color)[:, None, None]).permute(0, 3, 1, 2)


def gathered_views(images: Tensor, mean: Tensor, color: Tensor, size: int) -> Tensor:
    """Compute the same as `looped_views` without a loop over the images. For GPUs."""
    count, slack, device = len(images), images.shape[1] - size, images.device
    tops, lefts = torch.randint(0, slack + 1, (2, count, 1), device=device)
    positions = torch.arange(size, device=device)
    mirrored = torch.rand(count, 1, device=device) < 0.5
    rows = (tops + positions)[:, :, None]
    columns = (lefts + torch.where(mirrored, positions.flip(0), positions))[:, None]
    views = images[torch.arange(count, device=device)[:, None, None], rows, columns] - mean[rows, columns]
    shift = (0.1 * torch.randn(count, 3, 1, device=device) * color).sum(1)
    return (views + shift[:, None, None]).permute(0, 3, 1, 2)


def ten_views(images: Tensor, mean: Tensor, size: int) -> list[Tensor]:
    """Return the corners and the centre, and their mirror images, each as a batch."""
    last = images.shape[1] - size
    corners = [(0, 0), (0, last), (last, 0), (last, last), (last // 2, last // 2)]
    crops = [
        (images[:, top : top + size, left : left + size] - mean[top : top + size, left : left + size])
        for top, left in corners
    ]
    return [x.permute(0, 3, 1, 2) for x in (*crops, *(crop.flip(2) for crop in crops))]


def set_precision(dtype: str) -> None:
    """Let products and convolutions of float32 use TF32, unless the type is float32. A CPU has no TF32."""
    torch.set_float32_matmul_precision("highest" if dtype == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = dtype != "float32"


def workload(what: str, words: set[str], dtype: str, batch_size: int, device: str) -> Callable[[], Tensor]:
    """Return a function that does one step, or computes ten views, and returns the loss or probabilities."""
    cifar = what in ("quick", "lrn18")
    lrn = HandLRN.apply if "hand" in words else plain_lrn if "plain" in words else library_lrn
    order = torch.channels_last if "channels_last" in words else torch.contiguous_format
    net = (Cifar(what == "lrn18") if cifar else Paper(lrn)).to(device, memory_format=order)
    stored, size, classes = (32, 32, 10) if cifar else (256, 224, 1000)
    images = torch.randint(0, 256, (batch_size, stored, stored, 3), dtype=torch.uint8, device=device)
    labels = torch.randint(0, classes, (batch_size,), device=device)
    mean = torch.full((stored, stored, 3), 128.0, device=device)
    color = 31.6 * torch.eye(3, device=device)
    random_views = looped_views if device == "cpu" else gathered_views
    autocast = functools.partial(torch.autocast, device, torch.bfloat16, enabled=dtype == "bfloat16")
    # Each batch size is compiled separately, so the program needs no variable sizes.
    compiled = (
        functools.partial(torch.compile, dynamic=False) if words & {"compile", "max_autotune"} else None
    )
    if compiled and "max_autotune" in words:
        compiled = functools.partial(compiled, mode="max-autotune")
    # Evaluation treats the weights as constants, stored once in the layout of the products.
    torch._inductor.config.freezing = what == "evaluate"
    run = compiled(net) if compiled and (device == "cpu" or what == "evaluate") else net

    def compute_loss(images: Tensor, labels: Tensor) -> Tensor:
        views = (images - mean).permute(0, 3, 1, 2) if cifar else random_views(images, mean, color, size)
        with autocast():
            return F.cross_entropy(run(views.contiguous(memory_format=order)), labels)

    if compiled and run is net:
        compute_loss = compiled(compute_loss)
    kernels, biases = ([p for p in net.parameters() if (p.ndim > 1) == many] for many in (True, False))
    groups = [
        {"params": kernels},
        {"params": biases},
    ]  # two groups, as their learning rates and decays differ; this costs nothing
    optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)

    def update() -> Tensor:
        loss = compute_loss(images, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def evaluate() -> Tensor:
        with autocast():
            views = (x.contiguous(memory_format=order) for x in ten_views(images, mean, size))
            return sum((run(x).softmax(1) for x in views), torch.zeros((), device=device)) / 10

    if what == "evaluate":
        net.eval()
        return evaluate
    return update


def measure(
    what: str, mode: str, dtype: str, batch_size: int, device: str, steps: int, at_once: int
) -> dict[str, Any]:
    """Measure one combination: seconds of a step, peak memory, and the result of the first step."""
    words, cuda = set(mode.split("+")), device == "cuda"
    torch.manual_seed(0)
    torch._dynamo.reset()  # forget the programs of other batch sizes
    torch.backends.cudnn.benchmark = "cudnn_benchmark" in words
    set_precision(dtype)
    synchronize = torch.cuda.synchronize if cuda else lambda: None
    if cuda:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    work = workload(what, words, dtype, batch_size, device)
    result = float(work().mean())
    first = time.perf_counter() - began
    for _ in range(3 * cuda):  # CUDA graphs are recorded in the second step
        work()
    seconds = []
    for _ in range(steps):
        synchronize()
        began = time.perf_counter()
        for _ in range(at_once):
            work()
        synchronize()
        seconds.append((time.perf_counter() - began) / at_once)
    return {
        "seconds": sorted(seconds)[len(seconds) // 2],
        "fastest_seconds": min(seconds),
        "first_seconds": first,
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "result": result,
    }


def triton_version() -> str:
    """Return the version of the Triton that compiles for GPUs, for the record; empty without one."""
    try:
        return f" with Triton {importlib.metadata.version('triton')}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def main() -> None:
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=("train", "evaluate", "quick", "lrn18"), default="train")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=found)
    parser.add_argument("--batch_size", default="128", help="one, or several with commas")
    parser.add_argument("--dtype", default="float32", help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--mode", default="eager", help="see above; several with commas")
    parser.add_argument("--steps", type=int, default=3, help="number of measurements, after an untimed step")
    parser.add_argument(
        "--at_once", type=int, help="number of steps in a measurement: on a CPU 1, on a GPU 10 by default"
    )
    parser.add_argument("--rows", type=Path, help="append a JSON object for each combination to this file")
    args = parser.parse_args()
    dtypes, modes = args.dtype.split(","), args.mode.split(",")
    if unknown := {word for mode in modes for word in mode.split("+")} - WORDS | (set(dtypes) - {*DTYPES}):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; see --help")
    version = f"{torch.__version__}{triton_version()}"
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    at_once = args.at_once or (10 if args.device == "cuda" else 1)
    patches = 10 if args.what == "evaluate" else 1
    for batch_size, dtype, mode in itertools.product(map(int, args.batch_size.split(",")), dtypes, modes):
        key = {"what": args.what, "dtype": dtype, "mode": mode, "batch_size": batch_size}
        try:
            measured = measure(**key, device=args.device, steps=args.steps, at_once=at_once)
        except Exception as error:  # out of memory, or a mode that this version of PyTorch refuses
            measured = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
            line = measured["error"]
        else:
            seconds, peak = measured["seconds"], measured["peak_bytes"]
            line = f"median {seconds:.5f} s, fastest {measured['fastest_seconds']:.5f} s"
            line += f", {patches * batch_size / seconds:,.1f} {'patches' if patches > 1 else 'images'}/s"
            line += f", first step {measured['first_seconds']:.1f} s, result {measured['result']:.4f}"
            line += f", peak {peak / 2**30:.2f} GiB" if peak else ""
        print(f"torch {version}, {where}, {dtype} {mode} batch {batch_size}: {line}", flush=True)
        if args.rows:
            with args.rows.open("a") as file:
                file.write(json.dumps({**key, "torch": version, "device": where, **measured}) + "\n")


if __name__ == "__main__":
    main()
