"""The archives of Binance Vision: downloading, verifying and typing them."""
