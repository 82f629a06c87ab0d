"""Resolve a host once, look at where it leads, and connect to what was looked at; a second answer is never asked for.

So a name server that says one address when it is looked at and another when it is connected to (DNS rebinding) gains
nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence

from p2pqwen.net import socks5
from p2pqwen.values.named_hosts import Guard, NamedHosts
from p2pqwen.values.proxy import Proxies, Proxy


def addresses_of(host: str, port: int, guard: Guard) -> tuple[str, ...]:
    """Return the addresses at which the guard lets us reach a host; blocks while its name is resolved.

    Raises `RefusedAddressError`, and `OSError` for a name that has no address.
    """
    checked = guard.check_host(host)
    if checked.address is not None:
        zone = f"%{checked.zone}" if checked.zone else ""
        return guard.check_addresses(checked, (f"{checked.address}{zone}",))
    rows = socket.getaddrinfo(checked.name, port, type=socket.SOCK_STREAM)
    return guard.check_addresses(checked, dict.fromkeys(_address(row[4]) for row in rows))


def connect(
    host: str,
    port: int,
    guard: Guard,
    *,
    timeout: float | None,
    source: tuple[str, int] | None = None,
    options: Sequence[tuple[int, int, int | bytes]] = (),
) -> socket.socket:
    """Return a socket connected to a host, `timeout` in seconds for each of its addresses.

    Raises `RefusedAddressError`, and what `socket.create_connection` raises.
    """
    problem: OSError | None = None
    for address in addresses_of(host, port, guard):
        try:
            connected = socket.create_connection((address, port), timeout, source_address=source)
        except OSError as error:
            problem = error
            continue
        for level, name, value in options:
            connected.setsockopt(level, name, value)
        return connected
    raise problem or OSError(f"{host} has no address")


def proxies_now() -> Proxies:
    """Return the proxies of the environment."""
    return Proxies.of(os.environ)


def guard_of(proxy: Proxy) -> Guard:
    """Return what may be dialled on the way to a proxy: the proxy, wherever it is, and nothing else."""
    return Guard(proxies=NamedHosts.configured([proxy.named]))


def connect_by_socks(proxy: Proxy, host: str, port: int, guard: Guard, *, timeout: float | None) -> socket.socket:
    """Return a socket that leads to a host through a SOCKS5 proxy, `timeout` in seconds for each step.

    The proxy resolves the name, so that the guard judges its text alone. Raises as `connect`, and `SocksError`.
    """
    checked = guard.check_host(host)
    connected = connect(proxy.host, proxy.port, guard_of(proxy), timeout=timeout)
    try:
        socks5.ask(connected, proxy, str(checked), port)
    except BaseException:
        connected.close()
        raise
    return connected


def greet(proxy: Proxy, *, timeout: float) -> None:
    """Find out whether a SOCKS5 proxy answers and lets us in; raises as `connect_by_socks`."""
    with connect(proxy.host, proxy.port, guard_of(proxy), timeout=timeout) as connected:
        socks5.greet(connected, proxy)


async def connect_by_socks_soon(proxy: Proxy, host: str, port: int, guard: Guard) -> socket.socket:
    """Do as `connect_by_socks` does, in the running event loop; the socket does not block. The caller sets a timeout.

    An address of the proxy that does not answer uses that up.
    """
    checked, loop = guard.check_host(host), asyncio.get_running_loop()
    rows = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    to_proxy = guard_of(proxy)
    addresses = to_proxy.check_addresses(
        to_proxy.check_host(proxy.host), dict.fromkeys(_address(row[4]) for row in rows)
    )
    problem: OSError | None = None
    for address in addresses:
        connected = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        connected.settimeout(0)
        try:
            await loop.sock_connect(connected, (address, proxy.port))
            await socks5.ask_soon(connected, proxy, str(checked), port)
        except OSError as error:
            connected.close()
            problem = error
        except BaseException:
            connected.close()
            raise
        else:
            return connected
    raise problem or OSError(f"{proxy.host} has no address")


def _address(row: Sequence[object]) -> str:
    """Return the address of a row of `getaddrinfo`, with the interface of a link-local one."""
    zone = f"%{row[3]}" if len(row) > 3 and row[3] else ""
    return f"{row[0]}{zone}"
