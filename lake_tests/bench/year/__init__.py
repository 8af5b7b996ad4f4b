"""A simulated year with planted defects: back-filled, audited, repaired, reported; all found, and nothing else."""
