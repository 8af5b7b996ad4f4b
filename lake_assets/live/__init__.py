"""The live collector of a lake: recording, folding records to minutes, and what they prove."""
