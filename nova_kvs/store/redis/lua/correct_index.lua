-- SPDX-License-Identifier: Apache-2.0
-- correct_index.lua: add or remove an entry of a partition's own index if
-- the record that it names is still as it was seen.
-- Writes.
-- KEYS[1] partition, KEYS[2] its index; ARGV[1] the record's field, ARGV[2]
-- its version (8 bytes; "": absent), ARGV[3] "ZADD" or "ZREM", ARGV[4] entry.
-- A record on which a transaction has an intent is left alone.
-- Returns 1 done, 0 not. Idempotent. O(log(index)).

local stored = redis.call('HGET', KEYS[1], ARGV[1])
if (stored and string.sub(stored, 1, 8) or '') ~= ARGV[2]
    or redis.call('HEXISTS', KEYS[1], 'i' .. ARGV[1]) == 1 then
  return 0
end
if ARGV[3] == 'ZADD' then
  redis.call('ZADD', KEYS[2], 0, ARGV[4])
else
  redis.call('ZREM', KEYS[2], ARGV[4])
end
return 1
