"""Dagster jobs that sensors, schedules and people launch."""
