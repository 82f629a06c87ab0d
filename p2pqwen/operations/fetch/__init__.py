"""From a name, magnet link or .torrent file to a verified snapshot.

Enters: a target and the user's choices.
Leaves: a held snapshot, and where its bytes came from.
"""
