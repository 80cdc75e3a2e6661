# %% [markdown]
# # A small AlexNet on handwritten digits, from Python
#
# Train, evaluate, predict and look at the parameters. The data comes with scikit-learn. It takes half a
# minute on two CPU cores. Run it as a script, `python examples/digits.py`, or cell by cell in VS Code,
# PyCharm or Jupyter (with jupytext).

# %% The config: the network is a tuple of layers
from pathlib import Path

import jax
from PIL import Image

import alexnet_jax

WORKDIR = Path("runs/example")

config = alexnet_jax.get_config("digits")
config.num_epochs = 8.0
config.schedule.boundaries = (6.0, 7.0)  # epochs at which the learning rate is divided by 10
print(*config.net.layers, sep="\n")

# %% The data: uint8 images, their labels, the mean image
cache = alexnet_jax.prepare(config)
print({split: images.shape for split, images in cache.images.items()})

# %% Train. Run this cell again to resume, after an interruption or with more epochs.
trained = alexnet_jax.train(config, WORKDIR)

# %% Evaluate: the error rates with one view of each image, and with the average over several
for views in (1, 10):
    result = alexnet_jax.evaluate(WORKDIR, views=views)
    print(f"{views} view(s): top-1 error {result.top1_error:.2%} of {result.examples} test images")

# %% Predict image files
folder = WORKDIR / "images"
folder.mkdir(exist_ok=True)
for i, image in enumerate(cache.images["test"][:8]):
    Image.fromarray(image).save(folder / f"{i}.png")
net = alexnet_jax.restore(WORKDIR)
predictions = list(alexnet_jax.predict(net, folder))
for prediction in predictions:
    print(prediction.text(bars=True))

# %% Plot them, as figure 4 of the paper
from alexnet_jax.paper.figure4 import draw_predictions  # noqa: E402

draw_predictions(predictions).savefig(WORKDIR / "predictions.png")

# %% Work on arrays: probabilities, the last hidden layer, the parameters
images = cache.images["test"][:100]
probabilities = net.predict_proba(images)  # (100, 10)
features = net.features(images)  # (100, 512): 256 units of each tower
print(probabilities.shape, features.shape)
print(jax.tree.map(lambda array: array.shape, net.params))  # each with a leading tower axis

# %% A new network without training, and its logits
model = alexnet_jax.build(config)
params = alexnet_jax.init(model, jax.random.key(0))
crops = (images[:, :7, :7] - net.data.mean_image[:7, :7]) / config.data.pixel_std
print(alexnet_jax.apply(model, params, crops).shape)  # (100, 10)
