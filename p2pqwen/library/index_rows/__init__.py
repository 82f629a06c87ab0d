"""The database of an accepted index, made once when the index is accepted, and read from then on instead of its file.

    index.json                     the signed file, unchanged; the authority
    index.<16 hex digits>.sqlite   its rows, words, hashes and columns, in parts; the digits are the file's SHA-256

The database is believed only if its seal names the file now beside it, by size, time and inode. Everything in it hangs
on the seal, which names the digest of each list of parts, and each list names the digest of every part. So a flipped
bit, a missing part or a part of another database is found when it is read, however SQLite came to it. That is why words
and hashes are such parts too, and not SQLite indexes (nor FTS5): nothing would notice a row that such an index hides. A
database that is lost, damaged, of another version or of another file is made again from the signed file, by all of
acceptance. The file itself is never touched.

A database is never changed: a new one gets a new name, so that readers of the old one can finish.
"""
