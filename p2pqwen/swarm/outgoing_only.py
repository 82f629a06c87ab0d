"""Close the TCP sockets of a session that accepts no peers, or report that they stay open.

libtorrent 2.1 opens a TCP socket beside every UDP socket. With `enable_incoming_tcp` off it still listens, so
connections pile up unanswered. A fetch needs the UDP side (DHT, UDP trackers, hole punching) and must not listen. Not
every system lets other code close libtorrent's socket (`portable.sockets.shut_listening`).
"""

from __future__ import annotations

from collections.abc import Collection

from p2pqwen.events import Notice, Report
from p2pqwen.portable.sockets import shut_listening
from p2pqwen.swarm.endpoint import Endpoint


def stop_listening(endpoints: Collection[Endpoint], report: Report) -> None:
    """Stop a session's TCP sockets from listening; warn of those beyond loopback that still do."""
    stay = shut_listening(endpoint.port for endpoint in endpoints)
    open_ports = sorted({one.port for one in endpoints if one.port in stay and not one.is_loopback})
    if open_ports:
        fact = f"this system cannot close TCP port {', '.join(map(str, open_ports))} while this runs"
        advice = "nothing is served there; a firewall closes it, and --no-dht --no-lsd --no-trackers keep to loopback"
        report(Notice("warning", f"{fact}: {advice}"))
