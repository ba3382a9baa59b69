-- Forgets when keys were used, but for those that were used again meanwhile.
--
-- KEYS[1]  the hash of one tenant: key id to time
-- ARGV     key id, time, key id, time …
for i = 1, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
        redis.call('HDEL', KEYS[1], ARGV[i])
    end
end
