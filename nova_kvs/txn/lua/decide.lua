-- SPDX-License-Identifier: Apache-2.0
-- decide.lua: abort a transaction unless its outcome is decided.
-- Writes.
-- KEYS[1] outcome; ARGV[1] life of outcome "a" in ms.
-- Returns the outcome that holds: "c...", or "a...". Idempotent. O(1).

redis.call('SET', KEYS[1], 'a', 'NX', 'PX', ARGV[1])
return redis.call('GET', KEYS[1])
