-- Who is here, and the last event that made it so.
-- KEYS: the stream, the nicknames

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local id = last[1] and last[1][1] or '0-0'
return { id, redis.call('HGETALL', KEYS[2]) }
