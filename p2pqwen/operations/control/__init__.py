"""What people and programs ask of a node: status, control API calls, metrics, doctor.

Enters: a running node, or its home on disk.
Leaves: answers as values, turned into JSON in one place.
"""
