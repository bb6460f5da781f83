-- SPDX-License-Identifier: Apache-2.0
-- enqueue.lua: put a member into the housekeeping queue.
-- Writes. Uses prelude.lua.
-- KEYS[1] bucket; ARGV[1] member, ARGV[2] ms until it is due, by this
-- server's clock: a client's could be wrong. Idempotent. O(log(queue)).

return redis.call('ZADD', KEYS[1], 'NX',
                  string.format('%.0f', read_clock() + tonumber(ARGV[2])),
                  ARGV[1])
