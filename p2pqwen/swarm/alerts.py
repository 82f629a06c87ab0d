"""libtorrent's alerts, copied into our own values at once: an alert is gone after the next `pop_alerts`."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import libtorrent as lt

from p2pqwen.swarm import problems
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.reach import Reach
from p2pqwen.swarm.torrent import SwarmTorrent

Handler: TypeAlias = Callable[[Any, Any], None]


@dataclass(slots=True)
class SessionNews:
    """What alerts said about the session itself. `complaints`: kind, URL and reason, not reported yet."""

    listening: list[Endpoint] = field(default_factory=list)
    listen_errors: list[str] = field(default_factory=list)
    port_taken: bool = False
    complaints: list[tuple[str, str, str]] = field(default_factory=list)
    reach: Reach = field(default_factory=Reach)
    dropped: bool = False


def take(alert: lt.alert, news: SessionNews, torrents: dict[lt.torrent_handle, SwarmTorrent]) -> None:
    """Record one alert."""
    kind = type(alert)
    if isinstance(alert, lt.state_update_alert):
        _statuses(alert, torrents)
    elif (on_session := _SESSION.get(kind)) is not None:
        on_session(news, alert)
    elif (on_torrent := _TORRENT.get(kind)) is not None and isinstance(alert, lt.torrent_alert):
        torrent = torrents.get(alert.handle)
        if torrent is not None:
            on_torrent(torrent, alert)


def _listening(news: SessionNews, alert: lt.listen_succeeded_alert) -> None:
    if alert.socket_type == lt.socket_type_t.tcp:
        news.listening.append(Endpoint(alert.address, alert.port))


def _not_listening(news: SessionNews, alert: lt.listen_failed_alert) -> None:
    news.listen_errors.append(alert.error.message())
    news.port_taken |= alert.error.value() == errno.EADDRINUSE


def _tracker_error(news: SessionNews, alert: lt.tracker_error_alert) -> None:
    news.complaints.append(("tracker", alert.url, alert.failure_reason() or alert.error.message()))


def _web_seed_error(news: SessionNews, alert: lt.url_seed_alert) -> None:
    news.complaints.append(("web seed", alert.server_url(), alert.error_message() or alert.error.message()))


def _dropped(news: SessionNews, _alert: lt.alerts_dropped_alert) -> None:
    news.dropped = True


def _piece(torrent: SwarmTorrent, alert: lt.piece_finished_alert) -> None:
    torrent.mark(int(alert.piece_index), have=True)


def _hash_failed(torrent: SwarmTorrent, alert: lt.hash_failed_alert) -> None:
    torrent.failed_pieces += 1
    torrent.mark(int(alert.piece_index), have=False)


def _checked(torrent: SwarmTorrent, _alert: lt.torrent_checked_alert) -> None:
    torrent.checked = True
    torrent.sync_pieces()


def _finished(torrent: SwarmTorrent, _alert: lt.torrent_finished_alert) -> None:
    torrent.finished = True
    if torrent.checked:
        torrent.sync_pieces()


def _error(torrent: SwarmTorrent, alert: lt.torrent_error_alert) -> None:
    torrent.error = torrent.error or problems.of_torrent(alert.torrent_name, alert.error)


def _file_error(torrent: SwarmTorrent, alert: lt.file_error_alert) -> None:
    torrent.error = torrent.error or problems.of_file(alert.filename(), alert.error)


def _metadata(torrent: SwarmTorrent, alert: lt.metadata_received_alert) -> None:
    found = alert.handle.torrent_file()
    torrent.metadata = None if found is None else bytes(found.info_section())


def _resume(torrent: SwarmTorrent, alert: lt.save_resume_data_alert) -> None:
    torrent.answer(lambda: lt.write_resume_data_buf(alert.params))
    torrent.hear(alert.params.peers)
    if alert.params.ti is not None:
        with contextlib.suppress(RuntimeError):  # piece layers are missing
            torrent.torrent_file = lt.bencode(cast("Any", lt.write_torrent_file(alert.params)))


def _resume_failed(torrent: SwarmTorrent, _alert: lt.save_resume_data_failed_alert) -> None:
    torrent.answer(None)


def _flushed(torrent: SwarmTorrent, _alert: lt.cache_flushed_alert) -> None:
    torrent.flushes += 1


def _connected(torrent: SwarmTorrent, alert: lt.peer_connect_alert) -> None:
    # The Python module does not name this transport, and `peer_info` has no flag for it, but the message ends with it.
    torrent.meet(Endpoint(*alert.endpoint), webrtc=alert.message().endswith("(RTC)"))


def _mapped(news: SessionNews, alert: lt.portmap_alert) -> None:
    news.reach = news.reach.with_mapping(alert.external_port)


def _not_mapped(news: SessionNews, alert: lt.portmap_error_alert) -> None:
    news.reach = replace(news.reach, refusal=alert.error.message())


def _our_address(news: SessionNews, alert: lt.external_ip_alert) -> None:
    news.reach = replace(news.reach, external=str(alert.external_address))


def _counters(news: SessionNews, alert: lt.session_stats_alert) -> None:
    news.reach = news.reach.with_counters(alert.values)


def _statuses(alert: lt.state_update_alert, torrents: dict[lt.torrent_handle, SwarmTorrent]) -> None:
    for status in alert.status:
        if (torrent := torrents.get(status.handle)) is not None:
            torrent.note(status)


_SESSION: dict[type, Handler] = {
    lt.listen_succeeded_alert: _listening,
    lt.listen_failed_alert: _not_listening,
    lt.tracker_error_alert: _tracker_error,
    lt.url_seed_alert: _web_seed_error,
    lt.alerts_dropped_alert: _dropped,
    lt.portmap_alert: _mapped,
    lt.portmap_error_alert: _not_mapped,
    lt.external_ip_alert: _our_address,
    lt.session_stats_alert: _counters,
}
_TORRENT: dict[type, Handler] = {
    lt.peer_connect_alert: _connected,
    lt.piece_finished_alert: _piece,
    lt.hash_failed_alert: _hash_failed,
    lt.torrent_checked_alert: _checked,
    lt.torrent_finished_alert: _finished,
    lt.torrent_error_alert: _error,
    lt.file_error_alert: _file_error,
    lt.metadata_received_alert: _metadata,
    lt.save_resume_data_alert: _resume,
    lt.save_resume_data_failed_alert: _resume_failed,
    lt.cache_flushed_alert: _flushed,
}
