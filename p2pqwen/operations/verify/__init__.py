"""Compare what is held with what was signed: whole, file by file, on a schedule.

Enters: a held snapshot, a folder or a .torrent.
Leaves: verdicts for each file, damaged pieces, records of what was read and when.
"""
