"""Dagster sensors: what they read, and the runs that they ask for."""
