-- SPDX-License-Identifier: Apache-2.0
-- drop_floor.lua: remove the floor of a partition that holds nothing else.
-- Writes.
-- KEYS[1] partition; ARGV[1] the floor (8 bytes) that nothing needs any
-- more.
-- Returns 1, or 0 if the floor is another one or a record or an intent has
-- come since the caller looked. Idempotent. O(1).

if redis.call('HGET', KEYS[1], 'f') ~= ARGV[1]
    or redis.call('HLEN', KEYS[1]) ~= 1 then
  return 0
end
return redis.call('DEL', KEYS[1])
