"""The parts of a training run: step, optimizer, checkpoints, log, workdir."""
