"""The manifest of a snapshot, git objects, LFS pointers, provenance, licenses, hazards. No I/O."""
