-- A tenant's books of one UTC day and its month: what its model calls have used, and what those under
-- way hold yet. Postgres has the truth; this is a copy to decide by, good for being thrown away at any
-- moment and made anew. How that stays right: docs/decisions/0020-budgets.md.
--
-- KEYS[1]  the books: a HASH of since, day, ends, tokens, nano (used), held_tokens, held_nano, and for
--          each call that holds something its id: "tokens nano". Or, while someone makes them anew,
--          nothing but `maker`.
-- KEYS[2]  the ids of those calls, in a ZSET by when they have lapsed
-- ARGV[1]  what to do: see the end
--
-- All numbers are integers below 2^53: tokens, nano-dollars, seconds. All times are Postgres's.
local books, holders = KEYS[1], KEYS[2]
local KEPT_SECONDS, MAKING_SECONDS = 172800, 5

local function forget()
    redis.call('DEL', books, holders)
end

local function add(field, number)
    redis.call('HINCRBY', books, field, string.format('%.0f', number))
end

local function hold(id, tokens, nano, lapses)
    redis.call('HSET', books, id, string.format('%.0f %.0f', tokens, nano))
    redis.call('ZADD', holders, lapses, id)
    redis.call('EXPIRE', holders, KEPT_SECONDS)
    add('held_tokens', tokens)
    add('held_nano', nano)
end

local function release(id)
    local held = redis.call('HGET', books, id)
    if not held then
        return false
    end
    local tokens, nano = string.match(held, '(%d+) (%d+)')
    add('held_tokens', 0 - tokens) -- "-0" is no integer to Redis
    add('held_nano', 0 - nano)
    redis.call('HDEL', books, id)
    redis.call('ZREM', holders, id)
    return true
end

-- Whether the books are there, of this budget and this day, and nobody has lapsed: that one died, or
-- nobody could tell of its end.
local function are_good(since, now)
    local known = redis.call('HMGET', books, 'since', 'ends', 'held_tokens')
    if known[1] ~= since or now >= tonumber(known[2]) then
        return false
    end
    local first = redis.call('ZRANGE', holders, 0, 0, 'WITHSCORES')
    if first[1] then
        return tonumber(first[2]) > now
    end
    return tonumber(known[3]) == 0 -- or else the ids were lost
end

-- {1, output tokens granted} | {0, 1 tokens or 2 nano-dollars, how much is left, the day's begin}
-- | {-1, whether the caller is to make the books}. Without an id it only asks. A call that asks again
-- gives up what it held.
local function reserve(id, now, lapses, since, maker, input, output, input_price, output_price,
                       most_tokens, most_nano)
    if not are_good(since, now) then
        if redis.call('HEXISTS', books, 'maker') == 1 then
            return {-1, 0}
        end
        forget()
        redis.call('HSET', books, 'maker', maker)
        redis.call('EXPIRE', books, MAKING_SECONDS)
        return {-1, 1}
    end
    if id ~= '' then
        release(id)
    end
    local known = redis.call('HMGET', books, 'tokens', 'held_tokens', 'nano', 'held_nano', 'day')
    local granted, short, left = output, 0, 0
    local function within(which, most, used, held, of_input, of_output)
        if not most then
            return
        end
        local rest = most - used - held
        local fits = of_output > 0 and math.floor((rest - of_input) / of_output) or output
        if rest < of_input then
            fits = -1
        end
        if fits < granted then
            granted, short, left = fits, which, math.max(rest, 0)
        end
    end
    within(1, most_tokens, known[1], known[2], input, 1)
    within(2, most_nano, known[3], known[4], input * input_price, output_price)
    if granted < math.min(output, 256) then
        if id ~= '' then
            hold(id, 0, 0, lapses) -- until it is settled, as all are
        end
        return {0, short, left, tonumber(known[5])}
    end
    if id ~= '' then
        hold(id, input + granted, input * input_price + granted * output_price, lapses)
    end
    return {1, granted}
end

-- What a call held becomes what it used, once. Where the books do not know of it, or are not of the
-- day it was done, they are missing something: away with them, or with the attempt to make them.
local function settle(id, done, tokens, nano)
    local known = redis.call('HMGET', books, 'day', 'ends')
    if known[1] and done >= tonumber(known[1]) and done < tonumber(known[2]) and release(id) then
        add('tokens', tokens)
        add('nano', nano)
    else
        forget()
    end
    return {1}
end

-- The books, made by whoever was told to: {1}, or {0} where anything has happened since that was said.
-- `calls` is where ARGV begins to tell of those under way: id, tokens, nano-dollars, when it lapses.
local function install(maker, since, day, ends, tokens, nano, calls)
    if redis.call('HGET', books, 'maker') ~= maker then
        return {0}
    end
    forget()
    redis.call('HSET', books, 'since', since, 'day', day, 'ends', ends, 'tokens', tokens, 'nano', nano,
               'held_tokens', 0, 'held_nano', 0)
    redis.call('EXPIRE', books, KEPT_SECONDS)
    for i = calls, #ARGV, 4 do
        hold(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
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
forget()
return {1}
