"""A publisher's keys, its index and its site.

Enters: held snapshots, keys, the last published index.
Leaves: a signed index, a site of static files, its bundle and announcements.
"""
