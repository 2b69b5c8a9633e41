"""asyncio's tasks. Cases: tasks, sleepers."""

import asyncio
import json
import os
import sys
import time

BATCH = 1000


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


async def switch(tasks, rounds):
    async def yielder():
        for _ in range(rounds):
            await asyncio.sleep(0)

    await asyncio.gather(*[asyncio.create_task(yielder()) for _ in range(tasks)])


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


async def tasks(scale):
    n = max(1, int(100000 * scale))
    figures = {
        "spawn_finish_ns": await cost((n // BATCH + 1) * BATCH, spawn_finish(n // BATCH + 1)),
        "hop_ns": await cost(n, hop(n)),
    }
    for size in (1, 1000, 100000):
        rounds = max(10, n // size)
        tasks_now = min(size, n)
        figures[f"switch_{size}_ns"] = await cost(tasks_now * rounds, switch(tasks_now, rounds))
    print(json.dumps(figures))


async def sleepers(scale):
    count = max(1, int(100000 * scale))
    before = rss_bytes()
    keep = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(count)]
    await asyncio.sleep(0.1)
    print(json.dumps({"sleeping_task_bytes": (rss_bytes() - before) / len(keep)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    case = sleepers if sys.argv[1:2] == ["sleepers"] else tasks
    asyncio.run(case(float(sys.argv[2]) if len(sys.argv) > 2 else 1.0))
