"""What a window of the minute table is worth: certificate, slices, report card.

Belongs here: describing committed minutes for those who use them. Does not belong here: judging files (`audit`),
rules (`validation`), building hours (`build`), terminals.
"""
