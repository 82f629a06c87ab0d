"""ModelScope: its API, its files over HTTP, and its site. Adapters do not know one another: git is handed in."""
