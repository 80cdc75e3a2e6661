"""The network: shapes, parameters, the forward pass."""
