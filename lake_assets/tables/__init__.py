"""The tables of the lake, one module each."""
