"""A small Binance on loopback: market, REST, Vision archives and scripted faults.

Belongs here: everything the simulated exchange is made of. It shares no code with the clients that are tested
against it: nothing of `lake_resources.binance` is imported here, and nothing there imports this package.
"""
