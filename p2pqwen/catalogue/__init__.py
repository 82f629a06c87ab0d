"""Render the pages, data files and feeds of a published site from an index, its torrents and READMEs."""
