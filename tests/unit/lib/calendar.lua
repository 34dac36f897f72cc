-- Times are UTC; in Berlin summer begins 2026-03-29 01:00 and ends 2026-10-25 01:00 UTC.
local function at(y, mo, d, h, mi) return os.time { year = y, month = mo, day = d, hour = h, min = mi or 0 } end

local c = gw.calendar {
  zone = "Europe/Berlin", holidays = { "2026-05-14", "12-25" },
  windows = { { days = "mon-fri", from = "08:00", to = "18:00" }, { days = "sat", from = "22:00", to = "02:00" } },
}
-- Monday 2026-01-05, winter: 08:00 is 07:00 UTC.
assert(not c:open(at(2026, 1, 5, 6, 59)) and c:open(at(2026, 1, 5, 7)) and not c:open(at(2026, 1, 5, 17)))
-- Monday 2026-06-01, summer: 08:00 is 06:00 UTC.
assert(not c:open(at(2026, 6, 1, 5, 59)) and c:open(at(2026, 6, 1, 6)) and not c:open(at(2026, 6, 1, 16)))
-- Saturday night runs into Sunday.
assert(c:open(at(2026, 1, 10, 21)) and c:open(at(2026, 1, 11, 0, 59)) and not c:open(at(2026, 1, 11, 1)))
-- Sunday the clock goes forward: 22:00 is 21:00 UTC, and 02:00, which is not there, is 01:00 UTC.
assert(c:open(at(2026, 3, 29, 0, 59)) and not c:open(at(2026, 3, 29, 1)))
assert(c:next_open(at(2026, 3, 29, 1)) == at(2026, 3, 30, 6))
-- Sunday the clock goes back, 02:00 comes twice; the first counts.
assert(c:open(at(2026, 10, 24, 23, 59)) and not c:open(at(2026, 10, 25, 0)))
-- Holidays, of one year and of every year.
assert(not c:open(at(2026, 5, 14, 9)) and c:is_holiday(at(2026, 5, 14, 9)) and c:is_holiday(at(2030, 12, 25, 9)))
assert(not c:is_holiday(at(2026, 5, 13, 21, 59)) and c:is_holiday(at(2026, 5, 13, 22)))
assert(c:next_open(at(2026, 5, 13, 16)) == at(2026, 5, 15, 6))
-- Next.
assert(c:next_open(at(2026, 1, 5, 9)) == at(2026, 1, 5, 9))
assert(c:next_open(at(2026, 1, 5, 18)) == at(2026, 1, 6, 7))
assert(c:next_open(at(2026, 1, 9, 18)) == at(2026, 1, 10, 21))
assert(c:next_close(at(2026, 1, 5, 9)) == at(2026, 1, 5, 17) and c:next_close(at(2026, 1, 5, 18)) == nil)
local all = gw.calendar { windows = { {} } }
assert(all:open(0) and all:open(at(2099, 7, 1, 0)) and all:next_close(at(2026, 1, 1, 0)) == nil)
-- Windows that touch are one.
local two = gw.calendar { windows = { { days = "mon", from = "08:00", to = "12:00" }, { days = "mon", from = "12:00", to = "13:00" } } }
assert(two:next_close(at(2026, 1, 5, 9)) == at(2026, 1, 5, 13))
assert(two:next_open(at(2026, 1, 5, 13)) == at(2026, 1, 12, 8))
-- Far from now, and before 1970.
assert(c:date(at(2037, 7, 1, 12)).offset == 7200 and c:date(at(2060, 7, 1, 12)).offset == 7200)
local d = c:date(-1)
assert(d.year == 1970 and d.hour == 0 and d.min == 59 and d.zone == "CET")
d = c:date(at(2026, 7, 4, 22, 30))
assert(d.date == "2026-07-05" and d.wday == 7 and d.hour == 0 and d.summer and d.zone == "CEST")
assert(not pcall(function() return c.opened end))
assert(not pcall(c.open, c, 1e300))

gw.on("message", function(session, message)
  assert(all:open() and all:next_open() == gw.now())
  assert(not pcall(gw.calendar, { windows = { {} } }))     -- at loading only
end, { name = "calendar" })
