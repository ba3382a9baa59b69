-- An exact sliding window: the times of the last `limit` admissions, newest first, in a LIST.
--
-- KEYS[1]  the list of one tenant
-- KEYS[2]  the hash of its keys' last admissions, key id to microseconds; may be left out
-- ARGV[1]  limit, admissions in a window
-- ARGV[2]  window, microseconds
-- ARGV[3]  the key's id
-- ARGV[4]  how long the hash stays after an admission, milliseconds
-- Returns  {admitted 0|1, remaining, microseconds until an admission leaves the window}
--
-- Time only grows along the list, so what has left the window is at its end: a call drops that and
-- counts the rest. A refused call writes no entry. The clock is the server's: callers' may differ.
local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = tonumber(redis.call('LINDEX', KEYS[1], 0))
if newest and newest > now then
    now = newest -- the server's clock was set back: stand still until it has caught up
end

-- How many have left: looked for in growing steps, then by halves, so that a call that finds
-- thousands gone holds Redis up no longer than one that finds none.
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
    -- After a limit was lowered there may be more entries than it allows: wait for as many to leave.
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
