"""The WebSocket side of Binance: sessions, frames and the order book."""
