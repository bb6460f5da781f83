-- SPDX-License-Identifier: Apache-2.0
-- probe.lua: run what the transactions' scripts run, and leave nothing.
-- Writes.
-- KEYS[1..3] keys of one slot that do not exist.
-- Returns 1. Idempotent. O(1).

redis.call('HSET', KEYS[1], 'f', 'v')
redis.call('HMGET', KEYS[1], 'f')
redis.call('HKEYS', KEYS[1])
redis.call('ZADD', KEYS[2], 0, 'm')
redis.call('ZRANGEBYLEX', KEYS[2], '-', '+')
redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '+inf')
redis.call('SET', KEYS[3], '1', 'NX', 'PX', 1000)
redis.call('PEXPIRE', KEYS[3], 1000)
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('TIME')
return 1
