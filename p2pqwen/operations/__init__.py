"""What a command or the node does, over the adapters: nine packages, each with what enters it and what leaves it.

`engine` belongs to none: it is what fetches, seeds and bundles ask of a BitTorrent engine, real or in memory.
"""
