-- SPDX-License-Identifier: Apache-2.0
-- clock.lua: the time of the server that holds a key.
-- Reads. Uses prelude.lua.
-- KEYS[1] any key. Returns ms since the epoch. O(1).

return string.format('%.0f', read_clock())
