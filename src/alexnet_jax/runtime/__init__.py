"""The start of the process and of JAX, and the display of progress."""
