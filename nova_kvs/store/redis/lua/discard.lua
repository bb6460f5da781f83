-- SPDX-License-Identifier: Apache-2.0
-- discard.lua: remove a field of a partition if it is still what was seen.
-- Writes.
-- KEYS[1] partition; ARGV[1] field, ARGV[2] its value as seen.
-- A record or unique key on which a transaction has an intent stays.
-- Returns 1 removed, 0 not. Idempotent. O(1).

local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored ~= ARGV[2]
    or redis.call('HEXISTS', KEYS[1], 'i' .. ARGV[1]) == 1 then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
