"""The Hub endpoint's answers: what names mean, what may be served, and files that arrive while they are read."""
