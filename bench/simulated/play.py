# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Plays a scene with a fleet of hosts."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from bench.simulated.clock import Clock
from bench.simulated.host import Fleet, Host
from bench.simulated.protocols import Protocol
from bench.simulated.scenes import Monitor, Scene
from bench.simulated.tally import Tally


async def play(scene: Scene, hosts: int, url: str, protocol: Protocol) -> tuple[Tally, Clock]:
    """Play a scene, and go on until nothing is owed."""
    defects: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))
    tally = Tally()
    clock = Clock(scene.factor, scene.seconds)
    fleet = Fleet(url, protocol, clock, tally)
    made: list[Host] = []
    tellings = []
    for number in range(hosts):
        of = Monitor(number, clock.begins_s, clock.ends_s)
        made.append(Host(number, fleet, scene.away(of)))
        tellings.append(scene.tells(of, of.chance))
    gc.collect()
    gc.freeze()  # else each collection stops all hosts for long
    clock.begin()
    telling = [asyncio.create_task(host.tell(of)) for host, of in zip(made, tellings, strict=True)]
    try:
        for task in asyncio.as_completed(telling):
            await task
        ends_s = time.monotonic() + scene.drain_s
        # an event of each host would cost more
        while any(host.owes for host in made) and time.monotonic() < ends_s:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        tally.owed = {each for host in made for each in host.owed()}
    finally:
        gc.unfreeze()
        for host in made:
            host.close()
    if defects:
        raise RuntimeError(defects[0])
    return tally, clock
