"""Names looked up by asyncio's getaddrinfo: by the C library, on threads."""

import asyncio
import socket


async def hold(loop, names, numbers):
    found = 0
    for number in numbers:
        infos = await loop.getaddrinfo(
            f"n{number % names}.test",
            80,
            family=socket.AF_INET,
            type=socket.SOCK_STREAM,
        )
        if infos[0][4][0] != "192.0.2.1":
            raise ValueError("another address")
        found += 1
    return found


async def run(count, holders, names):
    loop = asyncio.get_running_loop()
    numbers = iter(range(count))
    return sum(
        await asyncio.gather(*(hold(loop, names, numbers) for _ in range(holders)))
    )


# The measuring frame.

import frame

if __name__ == "__main__":
    frame.measure(lambda work: run(work.count, work.holders, work.shared))
