"""p2pqwen keeps open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch."""

__version__ = "0.1.0"
