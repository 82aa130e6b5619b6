-- Takes tokens from the bucket KEYS[1]. Returns 0 if it had enough; else in how many microseconds it will have them.
-- ARGV: the tokens of a period, the period in microseconds, the burst, the tokens to take.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local rate, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local burst, wanted = tonumber(ARGV[3]) * period, tonumber(ARGV[4]) * period

-- A bucket is stored as the time at which it will be full: microseconds, and how many parts of one, of which there are
-- `rate`. In these parts a token takes a whole number, so nothing is rounded. A key that does not exist is a full bucket.
local function store(missing)
  local micros = math.floor(missing / rate)
  local value = string.format('%.0f %.0f', now + micros, missing % rate)
  redis.call('SET', KEYS[1], value, 'PX', math.floor(micros / 1000) + 2)
end

local missing = 0
local full, part = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
if full then
  missing = math.max(0, (tonumber(full) - now) * rate + math.min(tonumber(part), rate - 1))
end
if missing > burst then
  -- The clock was set back, or the limit was lowered: the bucket is empty, and no more than that.
  missing = burst
  store(missing)
end

if missing + wanted > burst then
  return math.ceil((missing + wanted - burst) / rate)
end
store(missing + wanted)
return 0
