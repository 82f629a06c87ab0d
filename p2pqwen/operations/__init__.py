"""One verb each: what a command or the node does, over the adapters, reporting events."""
