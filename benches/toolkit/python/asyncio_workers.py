"""Jobs on other threads by asyncio's run_in_executor."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


def increment(number):
    return number + 1


async def chain(loop, executor, numbers):
    total = 0
    for _ in numbers:
        total += await loop.run_in_executor(executor, increment, 0)
    return total


async def run(count, chains, threads):
    loop = asyncio.get_running_loop()
    numbers = iter(range(count))
    with ThreadPoolExecutor(threads) as executor:
        totals = (chain(loop, executor, numbers) for _ in range(chains))
        return sum(await asyncio.gather(*totals))


# The measuring frame.

import frame

if __name__ == "__main__":
    frame.measure(lambda work: run(work.count, work.holders, work.shared))
