"""Looking at what the lake holds: what is wrong, what is missing, what a repair would take.

Belongs here: everything that reads the committed lake to judge it. Does not belong here: rules (`validation`), building
hours (`build`), Dagster, terminals.
"""
