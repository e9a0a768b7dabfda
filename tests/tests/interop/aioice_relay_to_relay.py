"""Two ICE agents with relayed candidates only, on one TURN server. Prints what happened as JSON.

Arguments: the server's address and port, user name, password.
"""

import asyncio
import json
import sys
import time

import aioice

MESSAGES = 100


async def exchange(agent, name):
    """Sends its messages, and counts the other's."""
    received = set()

    async def receive():
        while len(received) < MESSAGES:
            received.add(await agent.recv())

    receiver = asyncio.ensure_future(receive())
    for number in range(MESSAGES):
        await agent.send(b"%s %d" % (name, number))
        await asyncio.sleep(0.002)
    try:
        await asyncio.wait_for(receiver, timeout=10)
    except asyncio.TimeoutError:
        pass
    return len(received)


async def main():
    address, port, user, password = sys.argv[1:]
    agents = [
        aioice.Connection(
            ice_controlling=controlling,
            turn_server=(address, int(port)),
            turn_username=user,
            turn_password=password,
            transport_policy=aioice.TransportPolicy.RELAY,
        )
        for controlling in (True, False)
    ]
    start = time.monotonic()
    await asyncio.gather(*(agent.gather_candidates() for agent in agents))
    for agent, other in (agents, agents[::-1]):
        for candidate in other.local_candidates:
            await agent.add_remote_candidate(candidate)
        await agent.add_remote_candidate(None)
        agent.remote_username = other.local_username
        agent.remote_password = other.local_password
    await asyncio.gather(*(agent.connect() for agent in agents))
    connected = time.monotonic() - start
    received = await asyncio.gather(*(exchange(agent, b"%d" % i) for i, agent in enumerate(agents)))
    candidates = [candidate.type for agent in agents for candidate in agent.local_candidates]
    await asyncio.gather(*(agent.close() for agent in agents))
    # The end of an allocation goes on in the background.
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(others, timeout=5) if others else None
    result = {
        "version": aioice.__version__,
        "connected_ms": round(1000 * connected),
        "candidates": candidates,
        "received": received,
    }
    print(json.dumps(result))


asyncio.run(main())
