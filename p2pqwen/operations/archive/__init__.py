"""What a library should hold: swarm health, adoption, rebalancing, state on the Hub, bulk preservation.

Enters: indexes, health records, a budget, watchlists.
Leaves: plans with a reason for every snapshot, and their execution.
"""
