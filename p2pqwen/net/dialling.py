"""Resolve a host once, check its addresses, and connect to one that was checked; the name is not resolved again.

So a name server that gives one address for the check and another for the connection (DNS rebinding) gains nothing.
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

    Raises `RefusedAddressError`, and `OSError` for a name without an address.
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
    """Return a socket connected to a host, with `timeout` seconds for each of its addresses.

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
    """Return the proxies in the environment."""
    return Proxies.of(os.environ)


def guard_of(proxy: Proxy) -> Guard:
    """Return a guard that allows the proxy, wherever it is, and nothing else."""
    return Guard(proxies=NamedHosts.configured([proxy.named]))


def connect_by_socks(proxy: Proxy, host: str, port: int, guard: Guard, *, timeout: float | None) -> socket.socket:
    """Return a socket that leads to a host through a SOCKS5 proxy, with `timeout` seconds for each step.

    The proxy resolves the name, so the guard judges only its text. Raises as `connect` does, and `SocksError`.
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
    """Check that a SOCKS5 proxy answers and accepts us; raises as `connect_by_socks` does."""
    with connect(proxy.host, proxy.port, guard_of(proxy), timeout=timeout) as connected:
        socks5.greet(connected, proxy)


async def connect_by_socks_soon(proxy: Proxy, host: str, port: int, guard: Guard) -> socket.socket:
    """Do what `connect_by_socks` does in the running event loop, and return a nonblocking socket.

    The caller sets a timeout, which one unresponsive address of the proxy can use up.
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
    """Return the address in a `getaddrinfo` row, with the interface if it is link-local."""
    zone = f"%{row[3]}" if len(row) > 3 and row[3] else ""
    return f"{row[0]}{zone}"
