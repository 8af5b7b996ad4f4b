"""The WebSocket side of the simulated exchange: routes, subscriptions, streams, faults, recorded replays.

Belongs here: everything between a socket and the market. Does not belong here: the market itself (the package above).
"""
