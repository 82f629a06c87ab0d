"""What a snapshot is made of: rows, git objects, LFS pointers, provenance, hazards. Pure."""
