//! What Redis does in one step: each of these scripts is done as a whole, or not at all.
//!
//! They are sent as they are, each time: some hundred bytes in place of the question whether a server that was started
//! anew still knows them.
//!
//! The hash of a job has the fields `body`, `callback`, `key`, `added`, `finished` and `result`, and for each lane
//! `work_state` or `callback_state` (`queued`, `running`, `waiting`, `done`, `dead`), `…_tries`, `…_error` and
//! `…_attempt`, which is the mark of the one attempt that counts.

/// Adds a job, unless its idempotency key is known, or too many jobs are queued.
///
/// Keys: job, stream, later, counts, idempotency key. Arguments: id, body, callback, most jobs, whether there is a key.
pub(crate) const ADD: &str = "
local job, stream, later, counts, key = unpack(KEYS)
local id, body, callback, most, has_key = unpack(ARGV)
if has_key == '1' then
  local known = redis.call('GET', key)
  if known then
    local is_same = string.sub(known, 1, 40) == redis.sha1hex(body)
    return {is_same and 'known' or 'other', string.sub(known, 42)}
  end
end
local queued = redis.call('XLEN', stream) + redis.call('ZCARD', later)
if queued >= tonumber(most) then
  redis.call('HINCRBY', counts, 'refused', 1)
  return {'full', queued}
end
local time = redis.call('TIME')
redis.call('HSET', job, 'body', body, 'added', time[1] * 1000 + math.floor(time[2] / 1000), 'work_state', 'queued')
if callback ~= '' then redis.call('HSET', job, 'callback', callback) end
if has_key == '1' then
  redis.call('HSET', job, 'key', key)
  redis.call('SET', key, redis.sha1hex(body) .. ' ' .. id)
end
redis.call('XADD', stream, '*', 'id', id)
redis.call('HINCRBY', counts, 'added', 1)
return {'added', id}
";

/// What the scripts below begin with.
///
/// Keys: job, stream, later, dead, counts, stream of callbacks. Arguments: lane, group, entry, id, how many seconds a
/// job is kept when all is done, most dead letters; and then the script's own.
macro_rules! with_prelude {
    ($script:literal) => {
        concat!(
            "
local job, stream, later, dead, counts, callbacks = unpack(KEYS)
local lane, group, entry, id, keep, most_dead = unpack(ARGV)
local function of(field) return redis.call('HGET', job, lane .. '_' .. field) end
local function set(field, value) redis.call('HSET', job, lane .. '_' .. field, value) end
local function count(what) redis.call('HINCRBY', counts, lane .. '_' .. what, 1) end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function ack()
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end
local function is_over()
  local state = of('state')
  return state == 'done' or state == 'dead'
end
local function bury(reason)
  count('dead')
  redis.call('XADD', dead, 'MAXLEN', '~', most_dead, '*', 'lane', lane, 'id', id, 'error', reason,
    'tries', of('tries') or 0, 'body', redis.call('HGET', job, 'body') or '')
end
-- The lane is done with the job: its outcome is told, or there is nothing more to do.
local function conclude(state)
  set('state', state)
  redis.call('HDEL', job, lane .. '_attempt')
  if lane == 'work' then redis.call('HSET', job, 'finished', now()) end
  if lane == 'work' and redis.call('HEXISTS', job, 'callback') == 1 then
    redis.call('HSET', job, 'callback_state', 'queued')
    redis.call('XADD', callbacks, '*', 'id', id)
    return
  end
  redis.call('EXPIRE', job, keep)
  local key = redis.call('HGET', job, 'key')
  if key then redis.call('EXPIRE', key, keep) end
end
",
            $script
        )
    };
}

/// An attempt begins, if the job is not over. It is counted once, however often this is sent.
///
/// Arguments: the attempt's mark, most attempts.
pub(crate) const BEGIN: &str = with_prelude!(
    "
local attempt, most = ARGV[7], tonumber(ARGV[8])
if not of('state') then
  ack()
  bury('there is no such job')
  return {'gone'}
end
if is_over() then
  ack()
  return {'over'}
end
if of('attempt') ~= attempt then
  if tonumber(of('tries') or 0) >= most then
    local reason = 'the worker ended in the middle of it, or did not answer for too long'
    ack()
    set('error', reason)
    bury(reason)
    conclude('dead')
    return {'dead', reason}
  end
  redis.call('HINCRBY', job, lane .. '_tries', 1)
  set('attempt', attempt)
end
set('state', 'running')
local fields = redis.call('HMGET', job, 'body', 'callback', 'work_state', 'result', 'work_error')
return {'do', of('tries'), unpack(fields)}
"
);

/// An attempt has succeeded. The first result counts, whichever attempt it is of.
///
/// Arguments: the result.
pub(crate) const FINISH: &str = with_prelude!(
    "
ack()
if not of('state') or is_over() then return {'over'} end
if lane == 'work' then redis.call('HSET', job, 'result', ARGV[7]) end
count('done')
conclude('done')
return {'done'}
"
);

/// An attempt has failed. What an attempt says that does not count any more is not listened to.
///
/// Arguments: the attempt's mark, the error, most attempts, milliseconds until the next.
pub(crate) const FAIL: &str = with_prelude!(
    "
local attempt, reason, most, pause = ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
if is_over() then
  ack()
  return {'over'}
end
if of('attempt') ~= attempt then return {'stale'} end
ack()
count('failed')
set('error', reason)
redis.call('HDEL', job, lane .. '_attempt')
if tonumber(of('tries')) >= most then
  bury(reason)
  conclude('dead')
  return {'dead'}
end
set('state', 'waiting')
redis.call('ZADD', later, now() + pause, id)
return {'later'}
"
);

/// An attempt is given up because its worker ends: it does not count, and others may claim the entry at once.
///
/// Arguments: the attempt's mark, the consumer.
pub(crate) const LEAVE: &str = with_prelude!(
    "
local attempt, consumer = ARGV[7], ARGV[8]
if of('attempt') == attempt then
  redis.call('HINCRBY', job, lane .. '_tries', -1)
  redis.call('HDEL', job, lane .. '_attempt')
  set('state', 'queued')
end
if #redis.call('XPENDING', stream, group, entry, entry, 1, consumer) > 0 then
  redis.call('XCLAIM', stream, group, consumer, 0, entry, 'IDLE', 86400000, 'JUSTID')
end
return {'left'}
"
);

/// An entry that is none of a job's: what is under its name is something else.
///
/// Arguments: the error.
pub(crate) const BURY: &str = with_prelude!(
    "
ack()
redis.call('HINCRBY', counts, lane .. '_dead', 1)
redis.call('XADD', dead, 'MAXLEN', '~', most_dead, '*', 'lane', lane, 'id', id, 'error', ARGV[7], 'tries', 0, 'body', '')
return {'dead'}
"
);

/// Jobs whose time has come go back into their stream.
///
/// Keys: later, stream. Arguments: most jobs.
pub(crate) const DUE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('XADD', KEYS[2], '*', 'id', id)
end
return #due
";

/// A worker still has these entries. Those that others have claimed meanwhile are the answer. One that was left stays
/// left: this may have been sent before, on another connection.
///
/// Keys: stream. Arguments: group, consumer, entries.
pub(crate) const EXTEND: &str = "
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local lost = {}
for i = 3, #ARGV do
  local entry = ARGV[i]
  local mine = redis.call('XPENDING', stream, group, entry, entry, 1, consumer)[1]
  if not mine then
    lost[#lost + 1] = entry
  elseif mine[3] < 86400000 then
    redis.call('XCLAIM', stream, group, consumer, 0, entry, 'JUSTID')
  end
end
return lost
";

/// Forgets consumers that have nothing in hand and have not been heard of for so long, and the one that says goodbye.
///
/// Keys: stream. Arguments: group, milliseconds, consumer that ends or nothing.
pub(crate) const TIDY: &str = "
local stream, group, limit, ending = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local forgotten = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local of = {}
  for i = 1, #consumer, 2 do of[consumer[i]] = consumer[i + 1] end
  if of.pending == 0 and (of.idle > limit or of.name == ending) then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, of.name)
    forgotten = forgotten + 1
  end
end
return forgotten
";

/// How long everything is: for each lane five numbers (entries in the stream, those of them that a worker has, jobs that
/// wait for their next attempt, the age of the oldest entry, and of the oldest that no worker has, in milliseconds);
/// then dead letters, and all counts.
///
/// Keys: work, its later, callbacks, their later, dead, counts. Arguments: group.
pub(crate) const LOOK: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
local function age(stream, from)
  local first = redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
  return first and math.max(0, now - tonumber(string.match(first[1], '^%d+'))) or 0
end
for lane = 1, 3, 2 do
  local stream = KEYS[lane]
  local pending, last = 0, '0-0'
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, group in ipairs(groups.err and {} or groups) do
    local of = {}
    for i = 1, #group, 2 do of[group[i]] = group[i + 1] end
    if of.name == ARGV[1] then pending, last = of.pending, of['last-delivered-id'] end
  end
  for _, number in ipairs({redis.call('XLEN', stream), pending, redis.call('ZCARD', KEYS[lane + 1]),
      age(stream, '-'), age(stream, '(' .. last)}) do
    answer[#answer + 1] = number
  end
end
answer[#answer + 1] = redis.call('XLEN', KEYS[5])
for _, text in ipairs(redis.call('HGETALL', KEYS[6])) do answer[#answer + 1] = text end
return answer
";
