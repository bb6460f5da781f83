-- SPDX-License-Identifier: Apache-2.0
-- abort_if_undecided.lua: abort a transaction unless its outcome is decided.
-- Writes.
-- KEYS[1] outcome; ARGV[1] life of outcome "a" in ms.
-- Returns the outcome that holds: "c...", or "a...". Idempotent. O(1).

if not redis.call('GET', KEYS[1]) then
  -- Redis refuses only the first write of a script when there is no more
  -- memory, and not one that frees some. The outcome must be writable then:
  -- intents on other servers wait for it.
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], 'a', 'PX', ARGV[1])
end
return redis.call('GET', KEYS[1])
