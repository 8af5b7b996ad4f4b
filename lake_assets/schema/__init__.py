"""What the lake's columns are.

Belongs here: each column once, the tables made of them, known holes of the exchange, the generated dictionary page.
Does not belong here: computing a value, checking a frame, any I/O beyond reading the project's own data file.
"""
