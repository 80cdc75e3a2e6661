"""Train a detector, as R-CNN (Girshick et al. 2014). Read it from top to bottom."""

import os
from collections.abc import Callable

from alexnet_jax import files
from alexnet_jax.detection import stored
from alexnet_jax.detection.annotations import Annotated
from alexnet_jax.detection.detector import FORMAT, Description, Detector
from alexnet_jax.detection.examples import examples, extract
from alexnet_jax.detection.extractor import extractor
from alexnet_jax.detection.finetune import finetune
from alexnet_jax.detection.regression import train_regression
from alexnet_jax.detection.svm import train_svms
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import progress
from alexnet_jax.training.restored import Restored


def train(
    net: Restored,
    annotated: Annotated,
    out: str | os.PathLike[str],
    max_proposals: int,
    finetune_steps: int = 0,
    random_seed: int | None = None,
    say: Callable[[str], None] = progress.say,
) -> Detector:
    """Train a detector, and write it into a folder.

    Proposals and features are kept in files. The same call resumes after a kill.

    Args:
      net: a trained network, from `restore`.
      annotated: the photographs.
      out: the folder.
      max_proposals: number of proposals of a photograph.
      finetune_steps: number of updates in which the network is fine-tuned on windows; 0 for none.
      random_seed: seed of random weights that replace those of the network, as a baseline; None to keep them.
      say: function that takes a line for the user.

    Raises:
      UserError: all objects of a class are difficult or it has none, the network sees too few pixels, a
        photograph can't be read, or the folder can't be written or holds the files of another network, other
        photographs or other windows.
      RunError: a feature is not finite, or a file was damaged meanwhile.
      Interrupted: a signal arrived during the fine-tuning, which has saved a checkpoint.
    """
    for label, name in enumerate(annotated.class_names):
        if not any(((x.labels_N == label) & ~x.difficult_N).any() for x in annotated.photographs):
            raise UserError(f"class {name} has no object that is not difficult: leave it out of --classes")
    network = extractor(net, random_seed)
    with stored.held(out) as folder:
        # ---- Windows: the objects, and proposals by selective search --------------------------------
        windows = examples(annotated.photographs, folder / "proposals" / "train", max_proposals, True, say)

        # ---- Features, of the network or of a fine-tuned one ----------------------------------------
        if finetune_steps:
            run = folder / "finetuned"
            tuned = finetune(network, windows, annotated.class_names, finetune_steps, run, say)
            network, random_seed = extractor(tuned), None
        features = extract(network, windows, folder / "features" / "train", say)

        # ---- One SVM and one regression for each class ----------------------------------------------
        say(f"training an SVM and a regression for each of {len(annotated.class_names)} classes")
        svms = train_svms(windows, features, annotated.class_names)
        regression = train_regression(windows, features, len(annotated.class_names))
        place = str(files.absolute(network.net.workdir))
        description = Description(
            FORMAT,
            annotated.class_names,
            place,
            network.net.step,
            random_seed,
            network.identity,
            max_proposals,
        )
        detector = Detector(description, svms, regression)
        detector.save(folder)
    return detector
