"""The REST side of Binance: requests, weights, pages and answers."""
