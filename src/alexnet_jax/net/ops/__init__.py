"""The operations of the network, one file each: the definition, then faster versions for some platforms."""
