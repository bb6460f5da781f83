-- SPDX-License-Identifier: Apache-2.0
-- run_when_full.lua: run a command that frees memory in the end, also where
-- the server has none left.
-- Writes.
-- KEYS[1] the command's key, which has no end of life; ARGV the command.
-- Redis refuses only the first write of a script when there is no more
-- memory, and not one that needs none: PERSIST changes nothing here.
-- Returns the command's reply. As idempotent as the command. O(command).

redis.call('PERSIST', KEYS[1])
return redis.call(unpack(ARGV))
