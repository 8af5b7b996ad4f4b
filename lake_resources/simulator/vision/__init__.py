"""The archive side of the simulated exchange."""
