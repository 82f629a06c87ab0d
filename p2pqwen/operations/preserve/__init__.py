"""A snapshot becomes a torrent: read once, hashed, proven where git can, installed in the library.

Enters: a repository at a commit, or a folder of its files.
Leaves: a held snapshot with its manifest and torrent.
"""
