-- Deletes recorded uses of keys, except those that have been updated since they were read.
--
-- KEYS[1]  the hash of one tenant: key id to time
-- ARGV     key id, time as read, key id, time as read …
for i = 1, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
        redis.call('HDEL', KEYS[1], ARGV[i])
    end
end
