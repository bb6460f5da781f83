-- SPDX-License-Identifier: Apache-2.0
-- drop_included.lua: remove minimum version and included columns of a row
-- that has left a covering index.
-- Writes.
-- KEYS[1] minimum versions, KEYS[2] included columns; ARGV[1] member,
-- ARGV[2] the row's version when the caller looked.
-- Returns 1, or 0 if the minimum version is above that: then somebody was
-- about to write the row. Idempotent. O(log(members)).

local minimum = redis.call('ZSCORE', KEYS[1], ARGV[1])
if minimum and tonumber(minimum) > tonumber(ARGV[2]) then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
