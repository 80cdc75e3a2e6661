"""From files of images to batches on the devices."""
