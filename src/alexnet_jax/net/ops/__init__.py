"""The operations of the network; each has a definition, and faster versions for some platforms."""
