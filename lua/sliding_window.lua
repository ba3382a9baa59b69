-- An exact sliding window: a LIST of the times of the last `limit` admissions, newest first.
--
-- KEYS[1]  the list of one tenant
-- KEYS[2]  optional: the hash of when each of its keys was last admitted, key id to microseconds
-- ARGV[1]  limit: admissions in a window
-- ARGV[2]  window, in microseconds
-- ARGV[3]  with KEYS[2]: the key's id
-- ARGV[4]  with KEYS[2]: how long the hash is kept after an admission, in milliseconds
-- Returns  {is admitted 0|1, remaining, microseconds until the next admission leaves the window}
--
-- Times only grow along the list, so a call drops what has left the window from its end and counts
-- the rest. A refused call adds nothing. The clock is the server's, since callers' may differ.
local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = tonumber(redis.call('LINDEX', KEYS[1], 0))
if newest and newest > now then
    now = newest -- the server's clock was set back: stand still until it has caught up
end

-- Count what has left by doubling steps, then by halving: finding thousands gone takes Redis no
-- longer than finding none.
local function has_left(nth_oldest)
    local admission = tonumber(redis.call('LINDEX', KEYS[1], -nth_oldest))
    return admission and admission <= now - window
end
local gone, still_in = 0, 1
while has_left(still_in) do
    gone, still_in = still_in, still_in * 2
end
while still_in - gone > 1 do
    local middle = math.floor((gone + still_in) / 2)
    if has_left(middle) then gone = middle else still_in = middle end
end
if gone > 0 then
    redis.call('LTRIM', KEYS[1], 0, -gone - 1)
end

local oldest = tonumber(redis.call('LINDEX', KEYS[1], -1))
local used = redis.call('LLEN', KEYS[1])
if used >= limit then
    -- A lowered limit may leave more entries than it allows: all beyond it must leave first.
    local next_free = tonumber(redis.call('LINDEX', KEYS[1], limit - 1))
    return {0, 0, next_free + window - now}
end

redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
if KEYS[2] then
    redis.call('HSET', KEYS[2], ARGV[3], string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return {1, limit - used - 1, (oldest or now) + window - now}
