"""The archive as a whole: the state of each swarm, what is in danger, and what one node should hold. Pure."""
