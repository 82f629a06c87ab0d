"""The signed index: entries, documents, root chain, acceptance rules. No I/O."""
