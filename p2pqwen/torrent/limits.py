"""How large a .torrent file may be, for who reads one from a disk or a web address."""

MAX_TORRENT_BYTES = 64 * 1024 * 1024
