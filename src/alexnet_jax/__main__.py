"""``python -m alexnet_jax VERB``."""

import sys

from alexnet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
