"""The archive as a whole: how each swarm stands, what is in danger, and what one node should hold. Pure."""
