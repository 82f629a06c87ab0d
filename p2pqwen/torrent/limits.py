"""The size limit of a .torrent file."""

MAX_TORRENT_BYTES = 64 * 1024 * 1024
