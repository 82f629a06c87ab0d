"""The Hub endpoint: answers a Hub client's requests from the library, trusted indexes and the swarm.

Enters: a client's requests, the library, trusted indexes, a node that fetches.
Leaves: answers in the Hub's form, and verified bytes, some while they arrive.
"""
