-- One batch of what happened in one process. It is applied whole and in order, and once: the same batch again gets
-- the answer of the first time.
--
-- Answers one letter for each operation: o (done), t (the nickname is taken), l (the nickname is no more its own).
-- KEYS: the stream, the nicknames, the processes, this process' last batch, this process' lease
-- ARGV: process, number of the batch (0: nothing is in it), lease in ms, entries to keep, whether to sweep,
--       the beginning of every lease's key; then for each operation its kind, its own number, nickname and text

local stream, nicks, processes, done, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local me, number, keep = ARGV[1], tonumber(ARGV[2]), ARGV[4]
local first_operation = 7
local a_day = 24 * 60 * 60 * 1000

-- Kept in the stream, and heard at once.
local function tell(kind, process, operation, nick, text)
    local event = kind .. ' ' .. process .. '.' .. operation .. ' ' .. nick .. ' ' .. text
    local id = redis.call('XADD', stream, 'MAXLEN', '~', keep, '*', 'event', event)
    redis.call('PUBLISH', stream, id .. ' ' .. event)
end

-- All members of a process leave.
local function forget(process)
    local all = redis.call('HGETALL', nicks)
    for at = 1, #all, 2 do
        if all[at + 1] == process then
            redis.call('HDEL', nicks, all[at])
            tell('left', process, 0, all[at], '')
        end
    end
    redis.call('SREM', processes, process)
end

-- The lease first: whoever speaks is alive.
redis.call('SET', lease, me, 'PX', ARGV[3])
redis.call('SADD', processes, me)
if ARGV[5] == '1' then
    for _, process in ipairs(redis.call('SMEMBERS', processes)) do
        if redis.call('EXISTS', ARGV[6] .. process) == 0 then
            forget(process)
        end
    end
end

if number == 0 then
    return ''
end
local last = redis.call('HMGET', done, 'number', 'verdicts')
local last_number = tonumber(last[1] or '0')
if number == last_number then
    return last[2]
elseif number < last_number then
    -- It was sent over a connection that has been given up since, and answered over another.
    return redis.error_reply('STALE batch')
end

local operations = {}
function operations.join(id, nick)
    local owner = redis.call('HGET', nicks, nick)
    if owner and owner ~= me then
        return 't'
    end
    redis.call('HSET', nicks, nick, me)
    tell('joined', me, id, nick, '')
    return 'o'
end
function operations.rename(id, nick, new)
    if redis.call('HGET', nicks, nick) ~= me then
        return 'l'
    elseif redis.call('HEXISTS', nicks, new) == 1 then
        return 't'
    end
    redis.call('HDEL', nicks, nick)
    redis.call('HSET', nicks, new, me)
    tell('renamed', me, id, nick, new)
    return 'o'
end
function operations.leave(id, nick)
    if redis.call('HGET', nicks, nick) ~= me then
        return 'l'
    end
    redis.call('HDEL', nicks, nick)
    tell('left', me, id, nick, '')
    return 'o'
end
function operations.line(id, nick, text)
    if redis.call('HGET', nicks, nick) ~= me then
        return 'l'
    end
    tell('line', me, id, nick, text)
    return 'o'
end
-- The process ends.
function operations.bye()
    forget(me)
    redis.call('DEL', lease)
    return 'o'
end

local verdicts = {}
for at = first_operation, #ARGV, 4 do
    verdicts[#verdicts + 1] = operations[ARGV[at]](ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
verdicts = table.concat(verdicts)
redis.call('HSET', done, 'number', ARGV[2], 'verdicts', verdicts)
redis.call('PEXPIRE', done, a_day)
return verdicts
