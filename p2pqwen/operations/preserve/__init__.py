"""Turn a snapshot into a torrent: read once, hashed, proven if git allows, installed in the library.

Enters: a repository at a commit, or a folder of its files.
Leaves: a held snapshot with its manifest and torrent.
"""
