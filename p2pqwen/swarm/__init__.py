"""libtorrent: settings, session, alerts to events."""
