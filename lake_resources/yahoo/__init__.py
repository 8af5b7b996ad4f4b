"""Yahoo Finance: minutes of stocks, funds, futures and currencies, and the hours in which they trade.

Belongs here: tickers, sessions, the one adapter around yfinance. Does not belong here: columns of the lake, Binance.
"""
