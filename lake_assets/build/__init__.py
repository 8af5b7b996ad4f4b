"""From sources to committed partitions: the steps and their order."""
