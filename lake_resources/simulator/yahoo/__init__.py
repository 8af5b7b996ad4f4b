"""A stand-in of Yahoo Finance's chart API, as much of it as minutes need.

Belongs here: its prices, hours, refusals and bodies. Does not belong here: the exchange, any client of Yahoo.
"""
