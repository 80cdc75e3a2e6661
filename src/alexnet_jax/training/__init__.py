"""What a training run is made of: step, optimizer, checkpoints, log, workdir."""
