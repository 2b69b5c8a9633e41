"""asyncio's tasks, futures and timers; with BENCH_LOOP=uvloop in the environment on
that loop. Cases: spawn, switch, futures, timers, sleepers, stall."""

import asyncio
import gc
import json
import os
import random
import socket
import sys
import time

BATCH = 1000
SCALE = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0


def scaled(count):
    return max(1, int(count * SCALE))


def rss_bytes():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def cost(operations, work):
    start = time.process_time_ns()
    await work
    return (time.process_time_ns() - start) / operations


async def spawn_finish(batches):
    async def nothing():
        pass

    for _ in range(batches):
        await asyncio.gather(*[asyncio.create_task(nothing()) for _ in range(BATCH)])


async def spawn():
    batches = scaled(100000) // BATCH + 1
    return {"spawn_finish_ns": await cost(batches * BATCH, spawn_finish(batches))}


async def switch_among(count, tasks):
    rounds = max(10, count // tasks)
    shot = asyncio.Event()

    async def yielder():
        await shot.wait()
        for _ in range(rounds):
            await asyncio.sleep(0)

    all_tasks = [asyncio.create_task(yielder()) for _ in range(tasks)]
    await asyncio.sleep(0)
    shot.set()
    return await cost(tasks * rounds, asyncio.wait(all_tasks))


async def switch():
    sizes = {"1": 1, "1000": 1000, "100000": scaled(100000)}
    count = scaled(100000)
    figures = {f"switch_{n}_ns": await switch_among(count, t) for n, t in sizes.items()}
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    acceptor = asyncio.create_task(asyncio.get_running_loop().sock_accept(listener))
    await asyncio.sleep(0)
    figures |= {f"switch_{n}_parked_ns": await switch_among(count, t) for n, t in sizes.items()}
    acceptor.cancel()
    return figures


async def resolve_resume(count):
    """A thousand tasks wait on a thousand futures that were made beforehand; see futures.lua."""
    loop = asyncio.get_running_loop()
    rounds = max(5, count // BATCH)
    resumed = spent = 0

    def fresh():
        return [loop.create_future() for _ in range(BATCH)]

    async def waiter(i):
        nonlocal resumed
        for _ in range(rounds):
            await coming[i]
            resumed += 1

    coming = fresh()
    keep = [asyncio.create_task(waiter(i)) for i in range(BATCH)]
    await asyncio.sleep(0)
    for _ in range(rounds):
        waited, coming, resumed = coming, fresh(), 0
        start = time.process_time_ns()
        for i, future in enumerate(waited):
            future.set_result(i)
        while resumed < len(keep):
            await asyncio.sleep(0)
        spent += time.process_time_ns() - start
    return spent / (rounds * BATCH)


async def hop(count):
    loop = asyncio.get_running_loop()
    waiting = [None, None]

    async def player(side):
        for i in range(count // 2):
            mine = waiting[side] = loop.create_future()
            other = waiting[1 - side]
            if other is not None and not other.done():
                other.set_result(i)
            await mine
        if waiting[1 - side] is not None and not waiting[1 - side].done():
            waiting[1 - side].set_result(None)

    await asyncio.gather(player(0), player(1))


async def futures():
    count = scaled(100000)
    return {"resolve_resume_ns": await resolve_resume(count),
            "hop_ns": await cost(count, hop(count))}


async def timers():
    loop = asyncio.get_running_loop()
    count = scaled(200000)
    longest = max(50, int(1000 * min(1.0, SCALE)))
    fired = 0

    def fire():
        nonlocal fired
        fired += 1

    def add():
        return [loop.call_later(random.randint(1, longest) / 1000, fire) for _ in range(count)]

    async def add_fire():
        nonlocal fired
        fired = 0
        add()
        time.sleep((longest + 100) / 1000)
        while fired < count:
            await asyncio.sleep(0)

    async def add_cancel():
        for handle in add():
            handle.cancel()

    await add_fire()
    await add_cancel()
    return {"add_fire_ns": await cost(count, add_fire()),
            "add_cancel_ns": await cost(count, add_cancel())}


async def sleepers():
    before = rss_bytes()
    keep = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(scaled(100000))]
    await asyncio.sleep(0.1)
    return {"sleeping_task_bytes": (rss_bytes() - before) / len(keep)}


async def stall():
    """As stall.lua does it, but with cycles for garbage, as all else goes without a collector, and
    with two collections of the oldest generation by hand: it would put them off for long."""
    keep = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(scaled(50000))]
    await asyncio.sleep(0.1)
    began = last = time.monotonic()
    cpu = time.process_time()
    turns, worst = [], 0.0
    while len(turns) < 500:
        if len(turns) % 200 == 100:
            gc.collect()
        for _ in range(64):
            cycle = ["x" * 1000]
            cycle.append(cycle)
        await asyncio.sleep(0.001)
        now, used = time.monotonic(), time.process_time()
        worst = max(worst, now - last - 0.001)
        turns.append(used - cpu)
        last, cpu = now, used
    turns.sort()
    assert keep
    return {"worst_stall_ms": worst * 1e3, "worst_turn_ms": turns[-1] * 1e3,
            "median_turn_ms": turns[len(turns) // 2] * 1e3}


async def main():
    cases = {"spawn": spawn, "switch": switch, "futures": futures, "timers": timers,
             "sleepers": sleepers, "stall": stall}
    print(json.dumps(await cases[sys.argv[1]]()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    if os.environ.get("BENCH_LOOP") == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(main())
