"""Where published sites are: files, folders and web addresses, read with caps on bytes, time and redirects."""
