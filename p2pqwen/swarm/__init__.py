"""libtorrent: settings, session, alerts to events. Its objects and exceptions never leave this package."""
