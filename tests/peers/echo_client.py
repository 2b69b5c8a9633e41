#!/usr/bin/env python3
"""echo_client.py HOST PORT [--connections N] [--rounds R] [--size S]

N connections, all open at once, of which each sends R random messages of up to S bytes and compares
what comes back; then each ends its direction and expects the end."""

import asyncio
import random
import socket
import sys

import peer


async def converse(reader, writer, seed, rounds, size):
    rng = random.Random(seed)
    for _ in range(rounds):
        data = rng.randbytes(rng.randint(1, size))
        writer.write(data)
        got = await reader.readexactly(len(data))
        if got != data:
            at = peer.mismatch(data, got)
            raise ValueError("connection %d: byte %d came back wrong" % (seed, at))
    writer.write_eof()
    rest = await reader.read()
    if rest:
        raise ValueError("connection %d: %d bytes too many" % (seed, len(rest)))


async def connect(host, port, gate):
    async with gate:  # as many at a time as a listen queue holds
        return await asyncio.open_connection(host, port)


async def main(args):
    gate = asyncio.Semaphore(100)
    opening = [connect(args.host, args.port, gate) for _ in range(args.connections)]
    pairs = await asyncio.gather(*opening)
    print("%d connections are open" % len(pairs), flush=True)
    for _, writer in pairs:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seeds = range(args.seed * 1000003, args.seed * 1000003 + len(pairs))
    talks = [converse(r, w, seed, args.rounds, args.size) for seed, (r, w) in zip(seeds, pairs)]
    await asyncio.gather(*talks)
    for _, writer in pairs:
        writer.close()
    await asyncio.gather(*[writer.wait_closed() for _, writer in pairs])
    print("%d messages came back" % (args.connections * args.rounds))


parser = peer.arguments(__doc__)
parser.add_argument("--connections", type=int, default=1000)
parser.add_argument("--rounds", type=int, default=10)
parser.add_argument("--size", type=int, default=2000)
options = parser.parse_args()
peer.need_descriptors(options.connections + 64)
try:
    asyncio.run(asyncio.wait_for(main(options), peer.TIMEOUT_S))
except (OSError, ValueError, EOFError, asyncio.TimeoutError) as error:
    sys.exit("echo_client.py: %r" % error)
