"""The database of an accepted index, made once when it is accepted and read from then on instead of its file.

    index.json                     the signed file, as it came; what counts
    index.<16 hex digits>.sqlite   its rows, words, hashes, columns, in parts; the digits are the file's SHA-256

The database is believed only where its seal names the file that stands beside it now, by size, time and inode. All of
it hangs on the seal, which names the digest of each list of parts; and each list names the digest of every part. So a
flipped bit, a missing part or one of another database is found when it is read, by whatever way SQLite came to it. That
is why words and hashes are such parts too, and no index of SQLite's (FTS5 neither): nothing would notice a row that
such an index hides. What is lost, damaged, of another version or of another file is made again from the signed file, by
all of acceptance. The file itself is never touched.

A database is never changed: a new one gets a name of its own, so that readers of the old one read on.
"""
