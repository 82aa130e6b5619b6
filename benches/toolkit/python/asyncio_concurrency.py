"""A limit on what is done at once by asyncio's semaphore."""

import asyncio


async def hold(limit, numbers):
    done = 0
    for _ in numbers:
        async with asyncio.timeout(5):
            await limit.acquire()
        try:
            await asyncio.sleep(0)
            done += 1
        finally:
            limit.release()
    return done


async def run(count, holders, slots):
    limit = asyncio.Semaphore(slots)
    numbers = iter(range(count))
    return sum(await asyncio.gather(*(hold(limit, numbers) for _ in range(holders))))


# The measuring frame.

import frame

if __name__ == "__main__":
    frame.measure(lambda work: run(work.count, work.holders, work.shared))
