"""Check everything that a node needs, and say what is wrong and what to do about it.

A finding is `ok` unless something speaks against it: a node cannot prove from inside that a port is open, and the text
says how much is known. The checks change nothing, except that they write a probe file to each library folder and remove
it.
"""

from __future__ import annotations

import os
import secrets
import shlex
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from p2pqwen.errors import P2pqwenError, UsageError
from p2pqwen.hub.cache_look import CacheLook, look_at_cache
from p2pqwen.hub.cache_refs import CachedRef
from p2pqwen.library import durable
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.loop_thread import run_now
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.net.dialling import greet
from p2pqwen.operations.control.other_clients import traces_of_other_clients
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.operations.indexes.update import STALE_DAYS
from p2pqwen.operations.node.limits import Limits, allowance
from p2pqwen.operations.verify.scrub_record import ScrubRecord
from p2pqwen.portable.owners import others_may, user_id
from p2pqwen.portable.process import open_file_limit
from p2pqwen.portable.sockets import take_port_again
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.reach import Reach
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.plural import plural
from p2pqwen.values.proxy import Proxies, Proxy
from p2pqwen.values.snapshot_id import OriginName, SnapshotId
from p2pqwen.values.utc_time import EARLIEST

CLOCK_TOLERANCE = timedelta(minutes=5)
ENOUGH_DHT_NODES = 8  # one bucket (BEP 5); with fewer, lookups often fail
TIME_TO_BE_FOUND = timedelta(hours=1)
TIME_TO_FIND = timedelta(minutes=2)
ENOUGH_FILES = 1024
"""Open files: 256 for the library and 500 connections (swarm.settings), and what else a program needs."""
PROXY_SECONDS = 5.0
_PRIVATE = 0o077
_NO_HTTP_PROXY = "none is named: http and https go out directly"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `detail` is what was seen, `advice` what to do if it is not `ok`."""

    check: str
    ok: bool
    detail: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """The answer of `doctor --json`; `ok` if every check is."""

    ok: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class RunningNode:
    """What a running node says about itself."""

    pid: int
    listen: str
    started: datetime
    reach: Reach


@dataclass(frozen=True, slots=True)
class DoctorContext:
    """What is examined. `hub_time` asks the Hub for the time; raises `P2pqwenError` if it cannot be reached.

    `xet_storage` contacts the storage of the Hub's large files and returns its address, None if it is not used; raises
    likewise. `modelscope` sends ModelScope a request and returns its address, None if it is not used here; raises
    likewise. `listen` is the address that a node would use; `dht` is access to the DHT, None if it is switched off.
    `now` is UTC. `state_problem`: why the stored state could not be read; rot and limits are then unknown.
    """

    home: Home
    library: Library
    node: RunningNode | None
    listen: Endpoint
    dht: DhtAccess | None
    hub_endpoint: str
    hub_time: Callable[[], datetime | None]
    xet_storage: Callable[[SnapshotId], str | None]
    publishers: Sequence[TrustedPublisher]
    publishes: bool
    scrubs: Mapping[str, ScrubRecord]
    now: Callable[[], datetime]
    limits: Limits = field(default_factory=Limits)
    uploaded_this_month: int = 0
    proxies: Proxies = field(default_factory=Proxies)
    bittorrent_proxy: Proxy | None = None
    hub_cache: Path | None = None
    modelscope: Callable[[], str] | None = None
    state_problem: P2pqwenError | None = None


def examine(patient: DoctorContext) -> Iterator[Finding]:
    """Make each check and yield its finding."""
    yield _node(patient)
    yield _port(patient)
    yield _dht(patient)
    yield _proxy(patient)
    if patient.bittorrent_proxy is not None:
        yield _bittorrent_proxy(patient.bittorrent_proxy, patient.proxies)
    hub, hub_time = _hub(patient)
    yield hub
    yield from _xet(patient)
    yield _clock(patient, hub_time)
    if patient.modelscope is not None:
        yield _modelscope(patient.modelscope)
    yield from _index(patient)
    yield from _disks(patient)
    yield from _cache(patient)
    if (problem := patient.state_problem) is not None:
        advice = problem.hint or "it says what this home remembers; check its disk and its permissions"
        yield Finding("state", ok=False, detail=problem.message, advice=advice)
    else:
        yield _rot(patient)
    yield from _other_clients(patient)
    if patient.state_problem is None:
        yield _limits(patient)
    yield _permissions(patient)
    yield _files()


def _node(patient: DoctorContext) -> Finding:
    node = patient.node
    if node is None:
        advice = "`p2pqwen seed` runs one; `p2pqwen service install` keeps one running"
        return Finding("node", ok=False, detail="no node is running, so nothing is served", advice=advice)
    return Finding("node", ok=True, detail=f"process {node.pid} has been running for {_since(patient, node)}")


def _port(patient: DoctorContext) -> Finding:
    node = patient.node
    if patient.bittorrent_proxy is not None:
        detail = "none is used: through a proxy a node accepts nobody, and connects to others"
        return Finding("port", ok=True, detail=detail)
    if node is None:
        return _free_port(patient.listen)
    listens = [Endpoint.parse(text) for text in node.listen.split(", ")]
    port = ", ".join(str(one.port) for one in dict.fromkeys(listens))
    if all(one.is_loopback for one in listens):
        advice = f"start it with --listen 0.0.0.0:{listens[0].port}, or set [network] listen in config.toml"
        return Finding("port", ok=False, detail=f"{node.listen} is reachable only from this machine", advice=advice)
    if node.reach.incoming:
        return Finding("port", ok=True, detail=f"outside peers have connected to port {port}")
    if node.reach.mapped:
        mapped = ", ".join(map(str, node.reach.mapped))
        return Finding("port", ok=True, detail=f"the router opened port {mapped}; no outside peer has connected yet")
    if patient.now() - node.started < TIME_TO_BE_FOUND:
        detail = f"no outside peer has connected to port {port} in {_since(patient, node)} so far"
        return Finding("port", ok=True, detail=detail)
    return Finding(
        "port",
        ok=False,
        detail=f"no outside peer has connected to port {port} in {_since(patient, node)}",
        advice=f"forward port {port} (TCP and UDP) to this machine in your router and let it through the firewall; "
        "until then only peers that you connect to can download from you",
    )


def _proxy(patient: DoctorContext) -> Finding:
    """Say which way HTTP goes out; a password is never shown."""
    try:
        found = {scheme: patient.proxies.proxy_for(scheme) for scheme in ("http", "https")}
    except UsageError as error:
        return Finding("proxy", ok=False, detail=error.message, advice="correct the variable, or unset it")
    ways = [f"{scheme} goes through {proxy.address}" for scheme, proxy in found.items() if proxy is not None]
    if not ways:
        return Finding("proxy", ok=True, detail=_NO_HTTP_PROXY)
    ways += [f"{scheme} goes out directly" for scheme, proxy in found.items() if proxy is None]
    excepted = ", ".join(("this machine", *patient.proxies.exceptions))
    detail = f"{'; '.join(ways)}; without it: {excepted}"
    if patient.bittorrent_proxy is None:
        detail += ". Peers, the DHT and trackers are asked directly"
    return Finding("proxy", ok=True, detail=detail)


def _bittorrent_proxy(proxy: Proxy, for_http: Proxies) -> Finding:
    """Check that the proxy answers, and say which HTTP traffic bypasses it."""
    way = f"peers and HTTP trackers are reached through {proxy.address} alone; no DHT, no UDP, no LAN"
    try:
        greet(proxy, timeout=PROXY_SECONDS)
    except (OSError, P2pqwenError) as error:
        detail = f"{way}. It does not answer, so that no peer is reached: {error}"
        advice = "start it, or correct [network] bittorrent_proxy in config.toml; nothing goes past it meanwhile"
        return Finding("bittorrent", ok=False, detail=detail, advice=advice)
    try:
        direct = [scheme for scheme in ("http", "https") if for_http.proxy_for(scheme) is None]
    except UsageError:
        direct = []  # the `proxy` check reports it
    if not direct:
        return Finding("bittorrent", ok=True, detail=f"{way}; it answers")
    return Finding(
        "bittorrent",
        ok=False,
        detail=f"{way}. {' and '.join(direct)} go out directly: web seeds, indexes and the Hub see your address",
        advice=f"set all_proxy=socks5h://{proxy.address.partition('://')[2]} in the environment, the service's too",
    )


def _free_port(listen: Endpoint) -> Finding:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        take_port_again(probe)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            advice = "end the program that has it, or choose another with [network] listen in config.toml"
            return Finding("port", ok=False, detail=f"cannot use {listen}: {error.strerror}", advice=advice)
    return Finding("port", ok=True, detail=f"{listen} is free for a node")


def _dht(patient: DoctorContext) -> Finding:
    if patient.bittorrent_proxy is not None:
        detail = "switched off: a proxy does not pass UDP on; peers are found by HTTP trackers, publishers and --peer"
        return Finding("dht", ok=True, detail=detail)
    if patient.dht is None:
        return Finding("dht", ok=True, detail="switched off: peers are found by trackers, LSD and --peer only")
    node = patient.node
    if node is not None and node.reach.dht_nodes is None:
        return Finding("dht", ok=True, detail="the node runs without it: see --no-dht, [network] dht")
    if node is not None and node.reach.dht_nodes is not None:
        count, young = node.reach.dht_nodes, patient.now() - node.started < TIME_TO_FIND
        detail = f"the node knows {count} nodes" + (f" after {_since(patient, node)}" if young else "")
    else:
        count, young = run_now(_answering(patient.dht)), False
        detail = f"{count} nodes answered"
    if count >= ENOUGH_DHT_NODES or young:
        return Finding("dht", ok=True, detail=detail)
    return Finding(
        "dht",
        ok=False,
        detail=detail,
        advice="let UDP out through the firewall, or name nodes to start from: [network] dht_bootstrap in config.toml",
    )


async def _answering(access: DhtAccess) -> int:
    async with access.open() as dht:
        await dht.find_nodes(secrets.token_bytes(20))
        return len(dht.good_nodes)


def _hub(patient: DoctorContext) -> tuple[Finding, datetime | None]:
    try:
        answered = patient.hub_time()
    except P2pqwenError as error:
        advice = "peers and other web seeds are enough to fetch; to preserve, check the network, proxy or HF_ENDPOINT"
        return Finding("hub", ok=False, detail=error.message, advice=error.hint or advice), None
    return Finding("hub", ok=True, detail=f"{patient.hub_endpoint} answers"), answered


def _xet(patient: DoctorContext) -> Iterator[Finding]:
    """Check the storage with a held snapshot: the Hub issues storage tokens by repository."""
    held = next((one.id for one in patient.library.all() if one.id.repo.kind.origin is OriginName.HUB), None)
    if held is None:
        return
    try:
        storage = patient.xet_storage(held)
    except P2pqwenError as error:
        advice = "large files come over plain HTTP, from the Hub itself; check what lets that host through"
        yield Finding("xet", ok=False, detail=error.message, advice=error.hint or advice)
        return
    yield Finding("xet", ok=True, detail=f"{storage} answers" if storage else "not used: files come over plain HTTP")


def _modelscope(ask: Callable[[], str]) -> Finding:
    try:
        return Finding("modelscope", ok=True, detail=f"{ask()} answers")
    except P2pqwenError as error:
        advice = 'what is on ModelScope alone cannot be preserved, and `origin = "auto"` asks nobody but the Hub'
        return Finding("modelscope", ok=False, detail=error.message, advice=error.hint or advice)


def _clock(patient: DoctorContext, hub_time: datetime | None) -> Finding:
    now = patient.now()
    advice = "set it, for instance with `timedatectl set-ntp true`: limits, schedules and the age of an index go by it"
    if hub_time is not None:
        off = now - hub_time
        detail = f"{abs(off.total_seconds()):.0f} s {'ahead of' if off > timedelta(0) else 'behind'} the Hub's"
        ok = abs(off) <= CLOCK_TOLERANCE
        return Finding("clock", ok=ok, detail=detail, advice=None if ok else advice)
    documents = [one.document for one in patient.publishers]
    newest = max((one.issued for one in documents if one is not None), default=now)
    if newest - now > timedelta(days=1):
        detail = f"{now:%Y-%m-%d} is before the index that was signed on {newest:%Y-%m-%d}"
        return Finding("clock", ok=False, detail=detail, advice=advice)
    if now < EARLIEST:
        return Finding("clock", ok=False, detail=f"{now:%Y-%m-%d %H:%M} UTC: it is not set", advice=advice)
    return Finding("clock", ok=True, detail=f"{now:%Y-%m-%d %H:%M} UTC; no clock to compare it with answered")


def _index(patient: DoctorContext) -> Iterator[Finding]:
    if not patient.publishers:
        detail = "no publisher is trusted" + (", this home publishes itself" if patient.publishes else "")
        advice = "`p2pqwen trust add PUBLISHER_ID --index URL`, or models cannot be fetched by name"
        yield Finding("index", ok=patient.publishes, detail=detail, advice=None if patient.publishes else advice)
    for one in patient.publishers:
        name = one.name or f"publisher {str(one.publisher)[:12]}"
        if one.document is None:
            advice = "`p2pqwen index update`, after `p2pqwen trust add` with an --index that works"
            yield Finding("index", ok=False, detail=f"{name}: no index has been accepted yet", advice=advice)
            continue
        days = (patient.now() - one.document.issued).days
        ok, ago = days <= STALE_DAYS, "today" if days <= 0 else "yesterday" if days == 1 else f"{days} days ago"
        detail = f"{name}: {plural(len(one.document.entries), 'snapshot')}, signed {ago}"
        advice = "`p2pqwen index update`; its entries stay valid, but its publisher may be gone"
        yield Finding("index", ok=ok, detail=detail, advice=None if ok else advice)


def _disks(patient: DoctorContext) -> Iterator[Finding]:
    for folder in patient.library.folders:
        yield _disk(folder)
    away = patient.library.away()
    for folder in patient.library.missing_folders:
        held = sum(one.folder.is_relative_to(folder.root) for one in away)
        yield Finding(
            "disk",
            ok=False,
            detail=f"{folder.root} is not connected" + (f", with {plural(held, 'snapshot')}" if held else ""),
            advice="connect and mount its disk; a folder that is new must be made first: "
            f"`mkdir -p {folder.root}` once its disk is mounted",
        )


def _disk(folder: LibraryFolder) -> Finding:
    probe = folder.root / f".p2pqwen-probe-{os.getpid()}"
    try:
        durable.write(probe, b"", mode=durable.SHARED)
        durable.remove(probe)
        room = folder.room
    except P2pqwenError as error:
        return Finding("disk", ok=False, detail=error.message, advice=error.hint or f"look at {folder.root}")
    detail = f"{format_size(room)} for more in {folder.root}, beyond {format_size(folder.reserve)} of reserve"
    advice = "free some space, lower the reserve, or name a folder on another disk: [library] folders in config.toml"
    return Finding("disk", ok=room > 0, detail=detail, advice=None if room else advice)


def _cache(patient: DoctorContext) -> Iterator[Finding]:
    """Report what is wrong with the Hugging Face cache, one finding for each kind of fault."""
    if patient.hub_cache is None:
        return
    root = patient.hub_cache
    held = {one.id: one for one in patient.library.all()}
    seen = look_at_cache(root, held)
    seen = replace(seen, unmarked=tuple(one for one in seen.unmarked if _is_proven(held[one])))
    faults = list(_cache_faults(seen))
    for detail, advice in faults:
        yield Finding("cache", ok=False, detail=detail, advice=advice)
    if not seen.exists:
        yield Finding("cache", ok=True, detail=f"{root} is not there yet: the first fetch makes it")
    elif not faults:
        yield Finding("cache", ok=True, detail=f"{root} is writable, and each ref in it names a snapshot that exists")


def _is_proven(held: HeldSnapshot) -> bool:
    """Tell whether we may write the markers of a snapshot: it must be proven."""
    try:
        return held.torrent().provenance is Provenance.PROVEN
    except P2pqwenError:  # another check reports it
        return False


def _cache_faults(seen: CacheLook) -> Iterator[tuple[str, str]]:
    if seen.closed:
        advice = "give yourself access, set HF_HUB_CACHE to a folder of your own, or fetch with --no-hf-cache"
        yield f"closed to this user: {_shown(map(str, seen.closed))}", advice
    if seen.locks:
        advice = "`chmod 664` by their owner, or remove them while nothing downloads into the cache"
        yield f"locks of another user: {_shown(map(str, seen.locks))}", advice
    if seen.loose:
        names = _shown(f"{one.folder}/refs/{one.ref.name} ({_fault(one.ref)})" for one in seen.loose)
        advice = "`p2pqwen fetch REPO@COMMIT` mends refs of a snapshot that the library holds; remove others, or "
        yield f"refs by which nothing is found: {names}", advice + "run `hf download REPO` for each of them"
    if seen.unmarked:
        advice = f"`p2pqwen fetch {seen.unmarked[0]}` writes them"
        names = _shown(map(str, seen.unmarked))
        yield f"no markers for files that do not exist, so loaders ask the Hub for them: {names}", advice


def _fault(ref: CachedRef) -> str:
    return "blanks after the commit" if ref.mendable else "nothing of it is there"


def _shown(names: Iterable[str]) -> str:
    """Return the first 3 names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f", and {len(listed) - 3} more" if len(listed) > 3 else "")


def _rot(patient: DoctorContext) -> Finding:
    held = {str(one.id) for one in patient.library.all()}
    damaged = sorted(name for name, record in patient.scrubs.items() if record.damage and name in held)
    if not damaged:
        if changed := sorted(str(one.id) for one in patient.library.all() if _is_changed(patient.library, one)):
            shown = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
            detail = f"{plural(len(changed), 'snapshot')} changed since verification: {shown}"
            return Finding(
                "rot", ok=False, detail=detail, advice=f"`p2pqwen verify {changed[0]}` reads every file again"
            )
        done = sum(record.finished is not None for name, record in patient.scrubs.items() if name in held)
        detail = f"no known damage; {done} of {len(held)} snapshots were fully scrubbed since import"
        return Finding("rot", ok=True, detail=detail)
    shown = ", ".join(damaged[:3]) + (", …" if len(damaged) > 3 else "")
    return Finding(
        "rot",
        ok=False,
        detail=f"{plural(len(damaged), 'snapshot')} damaged: {shown}",
        advice=f"`p2pqwen verify {damaged[0]} --repair`, and look at that disk: `smartctl -a`",
    )


def _is_changed(library: Library, held: HeldSnapshot) -> bool:
    try:
        metainfo = held.metainfo()
    except P2pqwenError:
        return False  # every command that needs the torrent reports that it cannot be read
    return library.state(held, metainfo.infohash.v2, metainfo.layout.total_size) is State.CHANGED


def _other_clients(patient: DoctorContext) -> Iterator[Finding]:
    """Report traces of other clients that were pointed at the library, if there are any."""
    for one in traces_of_other_clients(patient.library.all()):
        if one.renamed:
            detail = f"{plural(len(one.renamed), 'file')} of {one.snapshot} renamed: {one.folder / one.renamed[0]}"
            advice = "another client (Transmission) was pointed at the library: remove the torrent there, without its "
            advice += "data, and take .part off these names"
        else:
            detail = f"pad files of another client in {one.folder / '.pad'}"
            advice = "remove the torrent there, without its data"
        advice += f"; `p2pqwen export {one.snapshot} DIR --with-pads` makes a folder for it"
        yield Finding("clients", ok=False, detail=detail, advice=advice)


def _limits(patient: DoctorContext) -> Finding:
    limits, local = patient.limits, patient.now().astimezone()
    allowed = allowance(limits, now=local, uploaded_this_month=patient.uploaded_this_month)
    if not allowed.may_transfer:
        detail = f"nothing is sent or fetched now, at {local:%H:%M}: {allowed.reason}"
        advice = (
            "transfers resume by themselves; `p2pqwen limits` shows all limits, and `--hours always` resumes them now"
        )
        return Finding("limits", ok=False, detail=detail, advice=advice)
    if not allowed.may_upload:
        detail = f"nothing is sent now: {allowed.reason}"
        advice = (
            "sending resumes next month, or with a larger quota: `p2pqwen limits --monthly-upload SIZE`, 0 for no limit"
        )
        return Finding("limits", ok=False, detail=detail, advice=advice)
    sent = f"{format_size(patient.uploaded_this_month)} sent this month"
    if limits.monthly_upload:
        sent = f"{format_size(patient.uploaded_this_month)} of {format_size(limits.monthly_upload)} sent this month"
    within = f"; it is {local:%H:%M}, within {', '.join(map(str, limits.hours))}" if limits.hours else ""
    return Finding("limits", ok=True, detail=f"{sent}{within}")


def _permissions(patient: DoctorContext) -> Finding:
    home = patient.home
    if home.is_open:
        advice = f"`chmod 700 {home.root}`; share models by a library folder elsewhere, or the Hugging Face cache"
        if home.is_shared:
            advice = "point P2PQWEN_HOME at a folder of its own: this one holds other files too"
        detail = f"other users of this machine can look into {home.root}"
        return Finding("permissions", ok=False, detail=detail, advice=advice)
    private = [*home.keys.glob("*.pem"), home.root / "control.json", home.root / "control.sock", home.known_peers]
    private += [home.state, *home.log.glob("*"), *home.locks.glob("*.lock")]
    open_ones = [path for path in private if path.exists() and others_may(path.stat())]
    if open_ones:
        advice = "`chmod go= " + " ".join(shlex.quote(str(path)) for path in open_ones) + "`"  # some are folders
        detail = f"other users of this machine can read {', '.join(path.name for path in open_ones)}"
        return Finding("permissions", ok=False, detail=detail, advice=advice)
    if home.root.exists() and not os.access(home.root, os.R_OK | os.W_OK | os.X_OK):
        user = user_id()
        advice = "make it the property of the user who runs this" + (
            f": `chown -R {user} {home.root}`" if user is not None else ""
        )
        return Finding("permissions", ok=False, detail=f"{home.root} cannot be written to", advice=advice)
    return Finding("permissions", ok=True, detail=f"{home.root} is ours, its keys are private")


def _files() -> Finding:
    allowed = open_file_limit()
    if allowed is None:
        return Finding("open files", ok=True, detail="no limit is set")
    ok = allowed >= ENOUGH_FILES
    advice = None if ok else f"raise it: `ulimit -n {4 * ENOUGH_FILES}`, or LimitNOFILE= of the service"
    return Finding("open files", ok=ok, detail=f"{allowed} may be open at once", advice=advice)


def _since(patient: DoctorContext, node: RunningNode) -> str:
    seconds = max(0.0, (patient.now() - node.started).total_seconds())
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"
