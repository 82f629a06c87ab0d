"""What a command or the node does, on top of the adapters, in 9 packages. Each states its inputs and outputs.

`engine` belongs to none: it is what fetches, seeds and bundles need of a BitTorrent engine, real or in memory.
"""
