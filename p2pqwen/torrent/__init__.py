"""BitTorrent metainfo: bencode, merkle trees, layout, piece hashing, magnets, signatures. No I/O."""
