"""A process beside Dagster that looks at the platform and tells people when something is wrong."""
