-- A tenant's ledger of one UTC day and its month: what its model calls have used, and what pending
-- calls reserve. Postgres has the truth; this is a copy to decide by, which may be lost at any moment
-- and is rebuilt then. Why that is exact: docs/decisions/0017-budgets.md.
--
-- KEYS[1]  the ledger: a HASH of since, day, ends, tokens, nano, reserved_tokens, reserved_nano, and
--          for each pending call its id: "tokens nano". While a caller rebuilds it, `rebuilder` alone.
-- KEYS[2]  the ids of pending calls: a ZSET by when their reservations expire
-- ARGV[1]  the command: see the end
--
-- All numbers are integers below 2^53: tokens, nano-dollars, seconds. All times are Postgres's.
local ledger, calls = KEYS[1], KEYS[2]
local KEEP_SECONDS, REBUILD_SECONDS, MIN_GRANT_TOKENS = 172800, 5, 256

local function drop()
    redis.call('DEL', ledger, calls)
end

local function add(field, number)
    redis.call('HINCRBY', ledger, field, string.format('%.0f', number))
end

local function add_reservation(id, tokens, nano, expires_at)
    redis.call('HSET', ledger, id, string.format('%.0f %.0f', tokens, nano))
    redis.call('ZADD', calls, expires_at, id)
    redis.call('EXPIRE', calls, KEEP_SECONDS)
    add('reserved_tokens', tokens)
    add('reserved_nano', nano)
end

-- Returns whether the call had a reservation.
local function remove_reservation(id)
    local reserved = redis.call('HGET', ledger, id)
    if not reserved then
        return false
    end
    local tokens, nano = string.match(reserved, '(%d+) (%d+)')
    add('reserved_tokens', 0 - tokens) -- "-0" is no integer to Redis
    add('reserved_nano', 0 - nano)
    redis.call('HDEL', ledger, id)
    redis.call('ZREM', calls, id)
    return true
end

-- Whether the ledger is of this budget and this day, and no reservation has expired: the end of such a
-- call never arrived here.
local function is_current(since, now)
    local known = redis.call('HMGET', ledger, 'since', 'ends', 'reserved_tokens')
    if known[1] ~= since or now >= tonumber(known[2]) then
        return false
    end
    local first = redis.call('ZRANGE', calls, 0, 0, 'WITHSCORES')
    if first[1] then
        return tonumber(first[2]) > now
    end
    return tonumber(known[3]) == 0 -- or else KEYS[2] was lost
end

-- Returns {1, output tokens granted}
-- or {0, 1 for tokens or 2 for nano-dollars, how much is left, the day's first second}
-- or {-1, 1 if the caller must rebuild the ledger, 0 if another caller does}.
-- Without an id nothing is reserved. A call that reserves again replaces its reservation.
local function reserve(id, now, expires_at, since, rebuilder, input, output, input_price, output_price,
                       max_tokens, max_nano)
    if not is_current(since, now) then
        if redis.call('HEXISTS', ledger, 'rebuilder') == 1 then
            return {-1, 0}
        end
        drop()
        redis.call('HSET', ledger, 'rebuilder', rebuilder)
        redis.call('EXPIRE', ledger, REBUILD_SECONDS)
        return {-1, 1}
    end
    if id ~= '' then
        remove_reservation(id)
    end
    local known = redis.call('HMGET', ledger, 'tokens', 'reserved_tokens', 'nano', 'reserved_nano', 'day')
    local granted, scarce, left = output, 0, 0
    local function limit_output(budget, max, used, reserved, input_cost, output_cost)
        if not max then
            return
        end
        local rest = max - used - reserved
        local fitting = output_cost > 0 and math.floor((rest - input_cost) / output_cost) or output
        if rest < input_cost then
            fitting = -1
        end
        if fitting < granted then
            granted, scarce, left = fitting, budget, math.max(rest, 0)
        end
    end
    limit_output(1, max_tokens, known[1], known[2], input, 1)
    limit_output(2, max_nano, known[3], known[4], input * input_price, output_price)
    if granted < math.min(output, MIN_GRANT_TOKENS) then
        if id ~= '' then
            add_reservation(id, 0, 0, expires_at) -- every call is settled, a refused one too
        end
        return {0, scarce, left, tonumber(known[5])}
    end
    if id ~= '' then
        local nano = input * input_price + granted * output_price
        add_reservation(id, input + granted, nano, expires_at)
    end
    return {1, granted}
end

-- Replaces a call's reservation by what it used, once. If the ledger does not know the call, or is not
-- of the day that the call finished on, it misses something: it is dropped, or whoever rebuilds it must
-- read Postgres again.
local function settle(id, finished_at, tokens, nano)
    local known = redis.call('HMGET', ledger, 'day', 'ends')
    if known[1] and finished_at >= tonumber(known[1]) and finished_at < tonumber(known[2])
        and remove_reservation(id) then
        add('tokens', tokens)
        add('nano', nano)
    else
        drop()
    end
    return {1}
end

-- Stores a rebuilt ledger: {1}, or {0} if its caller is the rebuilder no more. From `first_call` on,
-- ARGV has four values for each pending call: id, tokens, nano-dollars, when its reservation expires.
local function install(rebuilder, since, day, ends, tokens, nano, first_call)
    if redis.call('HGET', ledger, 'rebuilder') ~= rebuilder then
        return {0}
    end
    drop()
    redis.call('HSET', ledger, 'since', since, 'day', day, 'ends', ends, 'tokens', tokens, 'nano', nano,
               'reserved_tokens', 0, 'reserved_nano', 0)
    redis.call('EXPIRE', ledger, KEEP_SECONDS)
    for i = first_call, #ARGV, 4 do
        add_reservation(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    end
    return {1}
end

local a = ARGV
if a[1] == 'reserve' then
    return reserve(a[2], tonumber(a[3]), a[4], a[5], a[6], tonumber(a[7]), tonumber(a[8]),
                   tonumber(a[9]), tonumber(a[10]), tonumber(a[11]), tonumber(a[12]))
elseif a[1] == 'settle' then
    return settle(a[2], tonumber(a[3]), a[4], a[5])
elseif a[1] == 'install' then
    return install(a[2], a[3], a[4], a[5], a[6], a[7], 8)
end
drop()
return {1}
