"""What a library should hold: swarm health, adoption, rebalancing, what the Hub still shows, bulk preservation.

Enters: indexes, health records, a budget, watchlists.
Leaves: plans with a reason for every snapshot, and their execution.
"""
