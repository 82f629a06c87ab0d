"""Ed25519 keys and envelopes; cryptography lives here only."""
