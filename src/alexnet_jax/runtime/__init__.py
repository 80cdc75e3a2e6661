"""How the process and JAX are started."""
