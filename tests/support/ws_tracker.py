"""A WebTorrent tracker, which forwards peers' offers; as a program, it prints the peers that came.

The protocol is that of bittorrent-tracker (npm): JSON over WebSocket, an `announce` with offers, and answers to them.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import WSMsgType, web

_Swarm = dict[str, web.WebSocketResponse]


class Tracker:
    """Keeps the peers of each torrent by their ids; prints each once."""

    def __init__(self) -> None:
        self._swarms: dict[str, _Swarm] = {}

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one peer for as long as it is connected."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._take(socket, json.loads(message.data))
        return socket

    async def _take(self, socket: web.WebSocketResponse, said: dict[str, object]) -> None:
        swarm = self._swarms.setdefault(str(said["info_hash"]), {})
        me = str(said["peer_id"])
        common = {"action": "announce", "info_hash": said["info_hash"], "peer_id": me, "offer_id": said.get("offer_id")}
        if "answer" in said:
            there = swarm.get(str(said["to_peer_id"]))
            if there is not None and not there.closed:
                await there.send_json({**common, "answer": said["answer"]})
            return
        if me not in swarm:
            print("peer", flush=True)
        swarm[me] = socket
        told = {"action": "announce", "info_hash": said["info_hash"], "interval": 5, "complete": 1, "incomplete": 1}
        await socket.send_json(told)
        others = [one for name, one in swarm.items() if name != me and not one.closed]
        offers = said.get("offers")
        for one, offer in zip(others, offers if isinstance(offers, list) else (), strict=False):
            await one.send_json({**common, "offer": offer["offer"], "offer_id": offer["offer_id"]})


async def main(host: str) -> None:
    """Serve until the program ends."""
    application = web.Application()
    application.router.add_get("/announce", Tracker().handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    print(f"port {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
