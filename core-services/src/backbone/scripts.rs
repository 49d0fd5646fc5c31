//! What must happen in one step at Redis. Texts are sent whole with each call: Redis knows them by their hash, and
//! a restarted server needs no reloading.

/// Says that a worker lives; returns Redis' time in milliseconds and how many workers of its service live.
///
/// `KEYS` workers · `ARGV` member, prefix of the service, milliseconds that a worker is believed
pub const HEARTBEAT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60000)
local live = 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[3], '+inf')) do
  if string.sub(member, 1, #ARGV[2]) == ARGV[2] then live = live + 1 end
end
return {now, live}";

/// Takes a lease that is free or one's own; returns 1, or 0 if somebody else has it.
///
/// `KEYS` lease · `ARGV` worker, milliseconds
pub const ACQUIRE: &str = "\
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' 0-0 0', 'PX', ARGV[2])
return 1";

/// Renews one's own lease and says where one is; returns 1, or 0 if it is lost.
///
/// `KEYS` lease · `ARGV` worker, milliseconds, entry in work, tries
pub const RENEW: &str = "\
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4], 'PX', ARGV[2])
return 1";

/// Gives one's own lease back; returns 1, or 0 if it was lost before.
///
/// `KEYS` lease · `ARGV` worker
pub const RELEASE: &str = "\
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Appends a batch to a node's stream; returns its id, `void` if the node is gone, `full` if the loss was counted.
///
/// `KEYS` stream, counter of losses · `ARGV` batch, entries at most, seconds that the counter lives
pub const APPEND: &str = "\
if redis.call('EXISTS', KEYS[1]) == 0 then return 'void' end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  redis.call('INCR', KEYS[2])
  redis.call('EXPIRE', KEYS[2], ARGV[3])
  return 'full'
end
return redis.call('XADD', KEYS[1], '*', 'b', ARGV[1])";

/// Has a connection watch a user's presence for a while; returns 1, or 0 if too many do.
///
/// `KEYS` watchers · `ARGV` watcher, milliseconds that it lasts, watchers at most
pub const WATCH: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";
