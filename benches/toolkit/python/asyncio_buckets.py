"""A token bucket for each key, written for asyncio."""

import asyncio


class Buckets:
    def __init__(self, rate, burst, most):
        self.loop = asyncio.get_running_loop()
        self.token = 1 / rate
        self.tolerance = (burst - 1) / rate
        self.most = most
        self.full_at = {}

    def take(self, key):
        now = self.loop.time()
        known = self.full_at.get(key)
        if known is None and len(self.full_at) >= self.most:
            self.forget_full(now)
            if len(self.full_at) >= self.most:
                key = None
                known = self.full_at.get(None)
        full_at = now if known is None else max(known, now)
        if full_at - now > self.tolerance:
            return False
        self.full_at[key] = full_at + self.token
        return True

    def forget_full(self, now):
        self.full_at = {key: at for key, at in self.full_at.items() if at > now}


async def run(keys, requests):
    buckets = Buckets(100, 100, keys)
    granted = refused = 0
    for number, key in enumerate(requests):
        if number % 64 == 0:
            await asyncio.sleep(0)
        if buckets.take(key):
            granted += 1
        else:
            refused += 1
    return granted, refused


# The measuring frame.

import frame


async def work(options):
    return sum(await run(options.shared, frame.keys(options)))


if __name__ == "__main__":
    frame.measure(work)
