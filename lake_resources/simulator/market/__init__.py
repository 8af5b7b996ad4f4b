"""The simulated market: seeded or replayed prices, trades and bars."""
