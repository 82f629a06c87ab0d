"""ModelScope: its API, its files over HTTP, its site. Git is passed in, since adapters do not import one another."""
