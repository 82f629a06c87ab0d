"""The node's disk: durable writes, layout, snapshots, keys, trust."""
