"""The Hub endpoint: answers a Hub client's questions from the library, trusted indexes and the swarm.

Enters: what a client asks, the library, trusted indexes, a node that fetches.
Leaves: the Hub's answers and bytes that were verified, some while they arrive.
"""
