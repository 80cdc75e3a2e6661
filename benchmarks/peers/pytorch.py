"""Time our networks in PyTorch on a CPU, in the mode that the arguments select.

    pip install torch
    python benchmarks/peers/pytorch.py --what=train [--bf16] [--channels_last] [--compile] [--lrn=hand]

``benchmarks/against_pytorch.py`` runs all modes. A step does what ours does: views from uint8 images, the
loss, its gradient, and the update with momentum and decay. In each tower LRN is PyTorch's (``library``) or
written by hand (``hand``): the sum over neighbours is a product with a banded matrix, and the gradient is in
closed form.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

NEIGHBOURS, ALPHA = 5, 1e-4


def library_lrn(x: Tensor) -> Tensor:
    """Compute LRN in each tower. PyTorch divides alpha by the window, the paper does not."""
    return torch.cat(
        [F.local_response_norm(t, NEIGHBOURS, NEIGHBOURS * ALPHA, k=2.0) for t in x.chunk(2, 1)], 1
    )


def over_neighbours(x: Tensor) -> Tensor:
    """Sum over five channels of the same tower, as a 1x1 convolution."""
    channels = torch.arange(x.shape[1])
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


def random_views(images: Tensor, mean: Tensor, color: Tensor, size: int) -> Tensor:
    """Crop, mirror half of the images, subtract the mean and shift the colours, in place."""
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


def ten_views(images: Tensor, mean: Tensor, size: int) -> list[Tensor]:
    """Return the corners and the centre, and their mirror images, each as a batch."""
    last = images.shape[1] - size
    corners = [(0, 0), (0, last), (last, 0), (last, last), (last // 2, last // 2)]
    crops = [
        (images[:, top : top + size, left : left + size] - mean[top : top + size, left : left + size])
        for top, left in corners
    ]
    return [x.permute(0, 3, 1, 2) for x in (*crops, *(crop.flip(2) for crop in crops))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=("train", "evaluate", "quick", "lrn18"), default="train")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3, help="number of timed steps, after an untimed one")
    parser.add_argument("--lrn", choices=("library", "hand"), default="library")
    for mode in ("bf16", "channels_last", "compile"):
        parser.add_argument(f"--{mode}", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    cifar = args.what in ("quick", "lrn18")
    lrn = {"library": library_lrn, "hand": HandLRN.apply}[args.lrn]
    net = Cifar(args.what == "lrn18") if cifar else Paper(lrn)
    order = torch.channels_last if args.channels_last else torch.contiguous_format
    net.to(memory_format=order)
    stored, size, classes = (32, 32, 10) if cifar else (256, 224, 1000)
    images = torch.randint(0, 256, (args.batch_size, stored, stored, 3), dtype=torch.uint8)
    labels = torch.randint(0, classes, (args.batch_size,))
    mean, color = torch.full((stored, stored, 3), 128.0), 31.6 * torch.eye(3)
    if args.what == "evaluate":
        net.eval()
        # Treat the weights as constants, stored once in the layout of the products.
        torch._inductor.config.freezing = True
    run = torch.compile(net) if args.compile else net
    kernels, biases = ([p for p in net.parameters() if (p.ndim > 1) == many] for many in (True, False))
    groups = [
        {"params": kernels},
        {"params": biases},
    ]  # two groups, as their learning rates and decays differ; this costs nothing
    optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)

    def update() -> None:
        views = (images - mean).permute(0, 3, 1, 2) if cifar else random_views(images, mean, color, size)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = F.cross_entropy(run(views.contiguous(memory_format=order)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            sum(run(x.contiguous(memory_format=order)).softmax(1) for x in ten_views(images, mean, size))

    work = evaluate if args.what == "evaluate" else update
    seconds = []
    for _ in range(1 + args.steps):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads: fastest {min(seconds[1:]):.4f} s")


if __name__ == "__main__":
    main()
