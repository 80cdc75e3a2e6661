"""The AlexNet of "ImageNet Classification with Deep Convolutional Neural Networks" (2012) in JAX.

For notebooks. `get_config`, `prepare`, `train`, `evaluate`, `predict`, `features`, `probe`,
`evaluate_faces`, `export` and `restore` do what the commands do. `build`, `init`, `apply` and `torch_layout`
work on the network alone. Each name is imported on first use, so that reading a config does not wait for JAX.
"""

# Nothing is imported here: a file in the current folder could replace it, and importing typing takes 5 ms, in
# which Ctrl-C would print a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from alexnet_jax.config.recipe import get_config
    from alexnet_jax.errors import Interrupted, RunError, UserError
    from alexnet_jax.faces.evaluate import FaceScore, FaceScores, evaluate_faces
    from alexnet_jax.faces.identification import Identification
    from alexnet_jax.faces.verification import Verification
    from alexnet_jax.loops.evaluate import Checkpoint, Evaluation, evaluate
    from alexnet_jax.loops.features import Features, features
    from alexnet_jax.loops.predict import Guess, Prediction, predict
    from alexnet_jax.loops.prepare import prepare
    from alexnet_jax.loops.probe import Probe, Score, probe
    from alexnet_jax.loops.train import Trained, train
    from alexnet_jax.net.model import apply, build, init
    from alexnet_jax.net.torch_layout import torch_layout
    from alexnet_jax.training.restored import Restored, restore
    from alexnet_jax.training.scores import Result
    from alexnet_jax.weights.export import Exported, export

_HOME = {  # in the order of docs/api.md
    "get_config": "config.recipe",
    "prepare": "loops.prepare",
    "train": "loops.train",
    "Trained": "loops.train",
    "evaluate": "loops.evaluate",
    "Evaluation": "loops.evaluate",
    "Checkpoint": "loops.evaluate",
    "Result": "training.scores",
    "restore": "training.restored",
    "Restored": "training.restored",
    "predict": "loops.predict",
    "Prediction": "loops.predict",
    "Guess": "loops.predict",
    "export": "weights.export",
    "Exported": "weights.export",
    "features": "loops.features",
    "Features": "loops.features",
    "probe": "loops.probe",
    "Probe": "loops.probe",
    "Score": "loops.probe",
    "evaluate_faces": "faces.evaluate",
    "FaceScores": "faces.evaluate",
    "FaceScore": "faces.evaluate",
    "Verification": "faces.verification",
    "Identification": "faces.identification",
    "build": "net.model",
    "init": "net.model",
    "apply": "net.model",
    "torch_layout": "net.torch_layout",
    "UserError": "errors",
    "RunError": "errors",
    "Interrupted": "errors",
}
__all__ = [
    "Checkpoint",
    "Evaluation",
    "Exported",
    "FaceScore",
    "FaceScores",
    "Features",
    "Guess",
    "Identification",
    "Interrupted",
    "Prediction",
    "Probe",
    "Restored",
    "Result",
    "RunError",
    "Score",
    "Trained",
    "UserError",
    "Verification",
    "apply",
    "build",
    "evaluate",
    "evaluate_faces",
    "export",
    "features",
    "get_config",
    "init",
    "predict",
    "prepare",
    "probe",
    "restore",
    "torch_layout",
    "train",
]


def __getattr__(name: str) -> "Any":
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
