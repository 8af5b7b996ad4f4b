"""Users' journeys."""
