"""The mesh, the placement of arrays, the communication of devices, and runs of several processes."""
