"""The dashboard: the lake for people who would rather look than read, over its readers alone and read-only.

Belongs here: pages, the chart, its server. Does not belong here: any second opinion on what a row is worth.
"""
