"""What runs by itself and when: pure decisions on facts that are given. No Dagster, no clock, no request."""
