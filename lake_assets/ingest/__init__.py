"""Choosing sources, building hours, committing them."""
