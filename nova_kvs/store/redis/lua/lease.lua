-- SPDX-License-Identifier: Apache-2.0
-- lease.lua: lease due members of the housekeeping queue.
-- Writes. Uses prelude.lua.
-- KEYS[1] bucket; ARGV[1] greatest number of members, ARGV[2] ms until they
-- are due again if nobody removes them.
-- Returns the members. A second run returns others: those of the first come
-- back when their lease ends. O(limit * log(queue)).

local now = read_clock()
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf',
                           string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
local due = string.format('%.0f', now + tonumber(ARGV[2]))
for _, member in ipairs(members) do
  redis.call('ZADD', KEYS[1], due, member)
end
return members
