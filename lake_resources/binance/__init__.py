"""Binance's wire: streams, REST, Vision."""
