"""The pages, data files and feeds of a published site, made of what an index, its torrents and READMEs say."""
