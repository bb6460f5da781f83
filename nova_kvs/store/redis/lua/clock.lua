-- SPDX-License-Identifier: Apache-2.0
-- clock.lua: the time of the server that holds a key.
-- Reads.
-- KEYS[1] any key. Returns ms since the epoch. O(1).

local time = redis.call('TIME')
return string.format(
  '%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
