"""The running node: it seeds what the library holds and carries out requests.

Enters: the library, the user's preferences and limits, fetch requests.
Leaves: served bytes, job results, the node's state.
"""
