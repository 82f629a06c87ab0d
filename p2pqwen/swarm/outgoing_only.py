"""Close the TCP side of a session that accepts nobody, or say that it stays open.

libtorrent 2.1 opens a TCP socket beside every UDP socket and keeps it listening with `enable_incoming_tcp` off, so
that connections pile up unanswered. A fetch needs the UDP side (DHT, UDP trackers, hole punching) and must not listen.
Not every system lets it be closed from outside of libtorrent (`portable.sockets.shut_listening`).
"""

from __future__ import annotations

from collections.abc import Collection

from p2pqwen.events import Notice, Report
from p2pqwen.portable.sockets import shut_listening
from p2pqwen.swarm.endpoint import Endpoint


def stop_listening(endpoints: Collection[Endpoint], report: Report) -> None:
    """Take a session's TCP sockets out of the listening state; warn of those beyond loopback that stay in it."""
    stay = shut_listening(endpoint.port for endpoint in endpoints)
    open_ports = sorted({one.port for one in endpoints if one.port in stay and not one.is_loopback})
    if open_ports:
        fact = f"this system cannot close TCP port {', '.join(map(str, open_ports))} while this runs"
        advice = "nothing is served there; a firewall closes it, and --no-dht --no-lsd --no-trackers keep to loopback"
        report(Notice("warning", f"{fact}: {advice}"))
