"""BitTorrent metainfo: bencode, merkle trees, layout, piece hashing, magnets, signatures. Pure."""
