"""The paper's network and schedule on ILSVRC-2012: 60,965,224 parameters, two towers.

    alexnet-jax train --config=alexnet --workdir=runs/alexnet
    alexnet-jax evaluate --workdir=runs/alexnet --views=10

Not run yet. Expected from the paper: 40.7 % top-1 and 18.2 % top-5 error on the validation set with ten
views, after about 90 epochs (5 to 6 days on two GTX 580). The data is TFDS's imagenet2012. With
--config.data.source=ilsvrc2012:DIR it is read from the archives of image-net.org (docs/data.md).

Variants can be combined unless they change the same thing. The ablations are those of
alexnet_jax/variants.py; configs/ablations.py trains them, and has the published results. A pair of figures is
a top-1 and a top-5 error in %. A number such as #145 names an experiment in the authors' code of 2012. The
other variants:

source: #145, the network and the run of 2012, where they differ from the paper. Network: alpha is divided by
    the window; the standard deviation is 0.03 in conv3 to conv5; the first ReLU follows the first pool; a
    normalization over the positions of each channel follows the second LRN. Optimizer: biases have no decay
    and a constant learning rate of 0.02 (`layer-params-145.cfg` notes reductions for the weights only, and
    ends with 0.02 for the biases). Other learning rates are reduced at epochs 25, 51 and 79, in conv1 at 67
    instead of 79; conv1 is frozen from epoch 72. Data: images are divided by 1.1 until epoch 67, when the
    colour noise ends; 32 images share a crop position; every epoch has the same order. Expected from its
    log: 40.664 / 18.210 with ten views.
owt: torchvision's ``alexnet``, from "One weird trick": one tower, no LRN, 61,100,840 parameters, crops of
    random size, torchvision's way to resize images. Expected from torchvision: 43.48 / 20.93 with one view.
caffe: BVLC's ``bvlc_alexnet``: images squashed to 256x256, crops of 227, biases of 0.1, k = 1, alpha divided
    by the window, LRN across the towers, a smaller standard deviation in fc6 and fc7, batches of 256, its own
    schedule, no colour noise. Expected from its readme: 42.9 / 19.8 with one view.
caffenet: BVLC's ``bvlc_reference_caffenet``: as ``caffe``, with each LRN after its pool and biases as in the
    paper. Expected from its readme: 42.6 / 19.6 with one view.
batch256: #170-256-double, batches of 256 and twice the learning rate. Expected: the same as with 128 (in its
    notes 42.27 / 19.66 with one view, and 42.34 / 19.58 for #170, which has 128).
small_bias: biases that start at 0.1 instead of 1, as in Caffe.
std03: standard deviation 0.03 in conv3 to conv5, as in the authors' code. With 0.01 little of the image
    reaches fc8, and the loss may stay at ln(classes) for a long time: see docs/faq.md.
ilsvrc2010: the data of table 1, from folders train/, val/ and test/ with a folder for each class:
    --config.data.source=folder:DIR. With ``source`` it has the schedule of the run of 2010 (whose notes end
    with 0.002 for the biases, but do not say from which epoch). Expected from the paper: 37.5 / 17.0 on the
    test set with ten views, 39.0 / 18.3 with the centre. The notes have the same errors.
fall2009: ImageNet of Fall 2009, 10,184 classes and 8.9 million images, half of them for testing:
    --config.data.source=folder:DIR, with a folder for each class. 28 epochs with the schedule of
    #141-2009-half. Its author found the error "a bit worse" than that of an earlier network, and trained for
    28 more epochs, starting at 0.001 (not done here). His notes have no figure. The paper has 67.4 / 40.9
    for a network with ``sixth_conv``.
fall2011: ImageNet of Fall 2011, 22,000 classes and 15 million images, for pre-training; 1 % is for
    testing. 8 epochs as in #146, which started with convolutions that were trained on Fall 2009.
fine_tune: for --config.init_from=WORKDIR, which takes all layers but fc8 from another network. Schedule of
    #146: learning rate 0.001, reduced at epochs 22 and 42; in conv1 0.0001, reduced at epoch 5, and frozen
    from epoch 7; in fc8 0.01, reduced at epoch 9 too; no colour noise from epoch 38. Expected
    from the paper with ``sixth_conv``, after Fall 2011: 39.0 / 16.6 (its log has 38.990 / 16.622).
batch_norm: AlexNet-BN, batch normalization after each convolution instead of LRN. For the expected error see
    ``lars``.
lars: with ``batch_norm``, for batches of 8K to 32K images: LARS for 100 epochs, 5 of them for warm-up, then
    a cosine; in fc6 and fc7 a standard deviation of 0.005 and biases of 0.1. The learning rate, 10 for 8,192
    images, scales with --config.batch_size. Rate, weight decay and epochs are those of the authors of LARS,
    in `models/alexnet_bn/solver_8K.prototxt` of NVIDIA's Caffe. Theirs is polynomial decay with power 2, and
    for 32K the rate is 32, after a warm-up of 10 epochs. Expected from similar recipes for 32K (arXiv
    1709.05011) and 64K (arXiv 1807.11205): an error of 41.3 to 42 with one view. For 8K the authors of LARS
    report no loss of accuracy (arXiv 1708.03888).
bf16: computes in bfloat16; parameters, the sums of normalizations and the logits stay in float32.
    On CPUs the sums of LRN are rounded to bfloat16.
"""

from ml_collections import ConfigDict

from alexnet_jax import variants as v
from alexnet_jax.config import base, with_variants
from alexnet_jax.layers import (
    LRN,
    Classifier,
    Conv,
    Dense,
    Dropout,
    MapNorm,
    MaxPool,
    ReLU,
    after,
    replaced,
    without,
)

# Section 3.5, for one tower. The upper half of figure 2 is one tower, the lower half the other.
PAPER = (
    Conv("conv1", features=48, kernel=11, stride=4, padding=(0, 3)),  # 224 -> 55
    ReLU("relu1"),
    LRN("norm1"),
    MaxPool("pool1", window=3, stride=2),  # 55 -> 27
    Conv("conv2", features=128, kernel=5, padding=(2, 2), bias=1.0),
    ReLU("relu2"),
    LRN("norm2"),
    MaxPool("pool2", window=3, stride=2),  # 27 -> 13
    Conv("conv3", features=192, kernel=3, padding=(1, 1), reads="all"),
    ReLU("relu3"),
    Conv("conv4", features=192, kernel=3, padding=(1, 1), bias=1.0),
    ReLU("relu4"),
    Conv("conv5", features=128, kernel=3, padding=(1, 1), bias=1.0),
    ReLU("relu5"),
    MaxPool("pool5", window=3, stride=2),  # 13 -> 6
    Dense("fc6", units=2048, reads="all", bias=1.0),
    ReLU("relu6"),
    Dropout("drop6"),
    Dense("fc7", units=2048, reads="all", bias=1.0),
    ReLU("relu7"),
    Dropout("drop7"),
    Classifier("fc8", classes=1000),
)

OWT = (
    Conv("conv1", features=64, kernel=11, stride=4, padding=(2, 2), std="fan_in"),
    ReLU("relu1"),
    MaxPool("pool1"),
    Conv("conv2", features=192, kernel=5, padding=(2, 2), std="fan_in"),
    ReLU("relu2"),
    MaxPool("pool2"),
    Conv("conv3", features=384, kernel=3, padding=(1, 1), std="fan_in"),
    ReLU("relu3"),
    Conv("conv4", features=256, kernel=3, padding=(1, 1), std="fan_in"),
    ReLU("relu4"),
    Conv("conv5", features=256, kernel=3, padding=(1, 1), std="fan_in"),
    ReLU("relu5"),
    MaxPool("pool5"),
    Dropout("drop6", scale_at="training"),
    Dense("fc6", units=4096, std="fan_in"),
    ReLU("relu6"),
    Dropout("drop7", scale_at="training"),
    Dense("fc7", units=4096, std="fan_in"),
    ReLU("relu7"),
    Classifier("fc8", classes=1000, std="fan_in"),
)


def source(c: ConfigDict) -> None:
    layers = after(without(c.net.layers, "relu1"), "pool1", ReLU("relu1"))
    layers = after(layers, "norm2", MapNorm("map_norm2", window=5, alpha=1e-3))
    for name in ("norm1", "norm2"):
        layers = replaced(layers, name, divide_alpha=True)
    c.net.layers = layers
    std03(c)
    c.data.shrink_by_noise = True
    c.data.color_noise_epochs = 67.0
    c.data.images_per_crop = 32
    c.data.reshuffle = False
    c.num_epochs = 91.0
    c.optimizer.bias_learning_rate = 0.02
    c.optimizer.bias_weight_decay = 0.0
    c.schedule.name = "steps"
    c.schedule.boundaries = (25.0, 51.0, 79.0)
    c.schedule.scale_biases = False
    c.optimizer.layers = ConfigDict({"conv1": {"boundaries": (25.0, 51.0, 67.0), "frozen_epochs": 72.0}})


def owt(c: ConfigDict) -> None:
    c.net.towers, c.net.layers = 1, OWT
    c.batch_size = 256
    c.data.resize = "torchvision"
    c.data.crop_scale = (0.08, 1.0)
    c.data.pixel_std = 57.4  # torchvision divides the channels by 58.4, 57.1 and 57.4
    c.data.color_noise = 0.0
    c.optimizer.weight_decay = 1e-4
    c.schedule.name = "steps"
    c.schedule.boundaries = (30.0, 60.0)


def caffe(c: ConfigDict) -> None:
    c.data.resize = "squash"
    c.data.crop_size = 227
    c.data.color_noise = 0.0
    c.batch_size = 256
    layers = replaced(c.net.layers, "conv1", padding=(0, 0))  # 227 -> 55
    for name in ("norm1", "norm2"):
        layers = replaced(layers, name, k=1.0, divide_alpha=True, reads="all")
    for name in ("drop6", "drop7"):
        layers = replaced(layers, name, scale_at="training")
    for name in ("fc6", "fc7"):
        layers = replaced(layers, name, std=0.005)
    c.net.layers = layers
    v.small_bias(c)
    c.optimizer.bias_learning_rate = 2 * c.optimizer.get_oneway_ref("learning_rate")
    c.optimizer.bias_weight_decay = 0.0
    c.schedule.name = "steps"
    c.schedule.boundaries = (20.0, 40.0, 60.0, 80.0)  # every 100,000 batches of 256


def caffenet(c: ConfigDict) -> None:
    caffe(c)
    for layer in PAPER:  # the initial biases
        if isinstance(layer, Conv | Dense):
            c.net.layers = replaced(c.net.layers, layer.name, bias=layer.bias)
    for number in "12":
        norm = next(layer for layer in c.net.layers if layer.name == f"norm{number}")
        c.net.layers = after(without(c.net.layers, norm.name), f"pool{number}", norm)


def std03(c: ConfigDict) -> None:
    for layer in c.net.layers:
        if layer.name in ("conv3", "conv4", "conv5"):
            c.net.layers = replaced(c.net.layers, layer.name, std=0.03)


def ilsvrc2010(c: ConfigDict) -> None:
    c.data.source = "folder:ILSVRC2010"
    if c.schedule.boundaries == (25.0, 51.0, 79.0):  # set by ``source``: take `layer-params-145-2010.cfg`
        c.schedule.boundaries = (23.0, 51.0, 78.0)
        c.optimizer.layers.conv1.boundaries = (23.0, 51.0, 68.0)
        c.data.color_noise_epochs = 68.0
        c.num_epochs = 93.0


def fall2009(c: ConfigDict) -> None:
    c.data.source = "folder:ImageNet-Fall2009"
    c.data.validation, c.data.test = 0.0, 0.5
    c.net.layers = replaced(c.net.layers, "fc8", classes=0)
    c.schedule.name = "steps"
    c.schedule.boundaries = (6.26, 13.34, 25.37)
    first = {"boundaries": (6.26, 13.34, 18.24), "frozen_epochs": 21.19}
    c.optimizer.layers = ConfigDict({"conv1": first, "conv2": first})
    c.data.color_noise_epochs = 18.24
    c.num_epochs = 28.33


def fall2011(c: ConfigDict) -> None:
    c.data.source = "folder:ImageNet-Fall2011"
    c.data.validation, c.data.test = 0.0, 0.01
    c.net.layers = replaced(c.net.layers, "fc8", classes=0)
    c.schedule.name = "steps"
    c.schedule.boundaries = (6.0,)
    c.num_epochs = 8.0


def fine_tune(c: ConfigDict) -> None:
    c.optimizer.learning_rate = 0.001
    c.schedule.name = "steps"
    c.schedule.boundaries = (22.0, 42.0)
    c.optimizer.layers = ConfigDict(
        {
            "conv1": {
                "learning_rate": 1e-4,
                "bias_learning_rate": 1e-4,
                "boundaries": (5.0,),
                "frozen_epochs": 7.0,
            },
            "fc8": {"learning_rate": 0.01, "bias_learning_rate": 0.01, "boundaries": (9.0, 22.0, 42.0)},
        }
    )
    c.data.color_noise_epochs = 38.0
    c.num_epochs = 54.0


def lars(c: ConfigDict) -> None:
    v.lars(c)
    v.small_bias(c)
    for name in ("fc6", "fc7"):
        c.net.layers = replaced(c.net.layers, name, std=0.005)
    c.num_epochs = 100.0


def bf16(c: ConfigDict) -> None:
    c.dtype = "bfloat16"


def get_config(variants: str = "") -> ConfigDict:
    c = base()
    c.net.layers = PAPER
    c.data.encoding = "jpeg"
    c.log_every = 50
    known = [owt, source, caffe, caffenet, *v.ABLATIONS, v.small_bias, std03]
    known += [
        ilsvrc2010,
        fall2009,
        fall2011,
        fine_tune,
        v.batch256,
        v.batch_norm,
        lars,
        bf16,
    ]  # in this order
    for_any_net = (v.pool2, v.no_dropout, v.no_decay, v.tanh, v.batch256, ilsvrc2010, bf16)
    contradictions = [
        *(frozenset({"batch_norm", other}) for other in ("source", "caffe", "caffenet", "no_lrn")),
        *(
            frozenset({"lars", other})
            for other in (
                *("source", "caffe", "caffenet", "fall2009", "fall2011", "fine_tune"),
                *("batch256", "small_bias", "no_decay"),
            )
        ),
        *v.EXCLUSIVE,
        *(frozenset({"owt", change.__name__}) for change in known if change not in (owt, *for_any_net)),
        *(
            frozenset({of_caffe, other})
            for of_caffe in ("caffe", "caffenet")
            for other in ("source", "batch256", "small_bias", "no_color", "fine_tune")
        ),
        frozenset({"caffe", "caffenet"}),
        *(frozenset({"source", other}) for other in ("fall2009", "fall2011", "fine_tune")),
        frozenset({"ilsvrc2010", "fall2009", "fall2011"}),
        *(frozenset({"fine_tune", other}) for other in ("fall2009", "fall2011")),
    ]
    return with_variants(c, variants, {change.__name__: change for change in known}, contradictions)
