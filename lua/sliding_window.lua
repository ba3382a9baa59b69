-- An exact sliding window: the times of the last `limit` admissions, newest first, in a LIST.
--
-- KEYS[1]  the list of one tenant
-- ARGV[1]  limit, admissions in a window
-- ARGV[2]  window, microseconds
-- Returns  {admitted 0|1, remaining, microseconds until an admission leaves the window}
--
-- Time only grows along the list, so the oldest entry alone decides: a call drops what has left the
-- window from the list's end (each entry once, so O(1) a call in the long run) and counts the rest.
-- A refused call writes no entry. The clock is the server's: callers' clocks may differ.
local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = tonumber(redis.call('LINDEX', KEYS[1], 0))
if newest and newest > now then
    now = newest -- the server's clock was set back: stand still until it has caught up
end

local oldest = tonumber(redis.call('LINDEX', KEYS[1], -1))
while oldest and oldest <= now - window do
    redis.call('RPOP', KEYS[1])
    oldest = tonumber(redis.call('LINDEX', KEYS[1], -1))
end

local used = redis.call('LLEN', KEYS[1])
if used >= limit then
    -- After a limit was lowered there may be more entries than it allows: wait for as many to leave.
    local next_free = tonumber(redis.call('LINDEX', KEYS[1], limit - 1))
    return {0, 0, next_free + window - now}
end

redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
return {1, limit - used - 1, (oldest or now) + window - now}
