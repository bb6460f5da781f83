-- SPDX-License-Identifier: Apache-2.0
-- drop_mark.lua: remove mark and cover of a row that has left an index.
-- Writes.
-- KEYS[1] marks, KEYS[2] covers; ARGV[1] member, ARGV[2] the row's version
-- when the caller looked.
-- Returns 1, or 0 if the mark is above that version: then somebody was about
-- to write the row. Idempotent. O(log(marks)).

local mark = redis.call('ZSCORE', KEYS[1], ARGV[1])
if mark and tonumber(mark) > tonumber(ARGV[2]) then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
