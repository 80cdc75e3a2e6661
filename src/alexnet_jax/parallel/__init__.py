"""The mesh, what lies where on it, what the devices communicate, and several processes as one run."""
