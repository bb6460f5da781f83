-- SPDX-License-Identifier: Apache-2.0
-- enqueue.lua: put a member into the housekeeping queue.
-- Writes.
-- KEYS[1] bucket; ARGV[1] member, ARGV[2] ms until it is due, by this
-- server's clock: a client's could be wrong. Idempotent. O(log(queue)).

local time = redis.call('TIME')
local due = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  + tonumber(ARGV[2])
return redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', due), ARGV[1])
