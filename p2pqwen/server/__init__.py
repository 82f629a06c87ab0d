"""The node's own local HTTP: the control API and metrics. What they do is the operations' matter."""
