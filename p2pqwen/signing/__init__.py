"""Ed25519 keys and envelopes; the only package that imports cryptography."""
