"""The publishers that this home trusts and what their indexes list, kept current from mirrors, the DHT and bundles.

Enters: publisher ids, mirrors, pointers, index files.
Leaves: accepted indexes, entries by name or infohash, torrents that agree with their entry.
"""
