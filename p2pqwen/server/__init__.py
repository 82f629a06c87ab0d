"""The node's local HTTP: the control API, metrics and the Hub endpoint. The operations do the work behind it."""
