"""The mesh, how arrays are placed on it, what the devices communicate, and several processes as one run."""
