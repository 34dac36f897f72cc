-- gw.calendar: windows of time on days of the week, holidays, in a time zone of the system's zoneinfo.
local _, core = ...
local schema = require "gw.schema"

local spec = schema.table {
  zone     = { type = "text", default = "UTC", doc = "A name of the system's zoneinfo, such as Europe/Berlin." },
  holidays = { type = "list", default = {}, max = 2000,
    of = { type = "text", pattern = "[%d-]+", expects = '"2026-12-25", or "12-25" for every year' } },
  windows  = { type = "list", required = true, min = 1, max = 100, of = { type = "table", fields = {
    days     = { type = "text", default = "mon-sun" },
    from     = { type = "time", default = "00:00" },
    to       = { type = "time", default = "24:00" },
    holidays = { type = "boolean", default = false },
  } } },
}

local weekdays = { mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6, sun = 7 }

local function days_of(text)
  local out = {}
  for part in (text .. ","):gmatch("%s*([^,]*)%s*,") do
    local a, b = part:match("^(%a+)%-(%a+)$")
    a, b = weekdays[a or part], weekdays[b or part]
    if not a or not b then
      error(('gw.calendar: days "%s" cannot be read; write "mon-fri,sun"'):format(text), 0)
    end
    local d = a
    out[d] = true
    while d ~= b do
      d = d % 7 + 1
      out[d] = true
    end
  end
  return out
end

local function minutes(text)
  return tonumber(text:sub(1, 2)) * 60 + tonumber(text:sub(4, 5))
end

-- Days are counted from 1970-01-01, a Thursday.
local function weekday(day) return (day + 3) % 7 + 1 end

local function date_of(day) return os.date("!%Y-%m-%d", day * 86400) end

local Calendar = {}

-- The local day, and the seconds since it began.
local function local_day(self, t)
  t = math.floor(t)
  local at = t + core.offset(self.zone, t)
  return at // 86400, at % 86400
end

local function is_holiday(self, day)
  local date = date_of(day)
  return self.holidays[date] or self.holidays[date:sub(6)] or false
end

-- Calls f(from, to) for the windows that begin on this day.
local function each_window(self, day, f)
  local holiday = is_holiday(self, day)
  for _, w in ipairs(self.windows) do
    if w.days[weekday(day)] and (w.holidays or not holiday) then
      local last = w.to > w.from and day or day + 1        -- over midnight
      f(core.from_local(self.zone, day * 86400 + w.from * 60), core.from_local(self.zone, last * 86400 + w.to * 60))
    end
  end
end

-- When the window that t is in ends, or nil.
local function end_of(self, t)
  local day, till = local_day(self, t), nil
  for d = day - 1, day do
    each_window(self, d, function(from, to)
      if from <= t and t < to and (not till or to > till) then till = to end
    end)
  end
  return till
end

function Calendar.open(self, t)
  return end_of(self, t or gw.now()) ~= nil
end

-- t itself when it is open then; nil when no window begins within a year.
function Calendar.next_open(self, t)
  t = t or gw.now()
  if end_of(self, t) then return t end
  local day = local_day(self, t)
  for d = day, day + 366 do
    local first
    each_window(self, d, function(from, to)
      if from > t and to > from and (not first or from < first) then first = from end
    end)
    if first then return first end
  end
  return nil
end

-- nil when it is closed then, or never closes within a year.
function Calendar.next_close(self, t)
  t = t or gw.now()
  local till = end_of(self, t)
  local limit = t + 366 * 86400
  while till and till < limit do
    local more = end_of(self, till)
    if not more then return till end
    till = more
  end
  return nil
end

function Calendar.is_holiday(self, t)
  return is_holiday(self, (local_day(self, t or gw.now())))
end

function Calendar.date(self, t)
  t = t or gw.now()
  local day, second = local_day(self, t)
  local offset, name, summer = core.offset(self.zone, math.floor(t))
  local date = date_of(day)
  return {
    year = tonumber(date:sub(1, -7)), month = tonumber(date:sub(-5, -4)), day = tonumber(date:sub(-2)),
    hour = second // 3600, min = second // 60 % 60, sec = second % 60, wday = weekday(day),
    date = date, offset = offset, zone = name, summer = summer,
  }
end

-- gw.calendar { zone =, holidays =, windows = { { days =, from =, to =, holidays = } } }
return function(t)
  local o, problems = schema.check(spec, t, "gw.calendar")
  if not o then error(table.concat(problems, "; "), 2) end
  local self = { zone = core.zone(o.zone), holidays = {}, windows = {} }
  if not self.zone then
    error(('gw.calendar: the system knows no time zone "%s"'):format(o.zone), 2)
  end
  for _, day in ipairs(o.holidays) do
    if not day:find("^%d%d%d%d%-%d%d%-%d%d$") and not day:find("^%d%d%-%d%d$") then
      error(('gw.calendar: "%s" is no day; write "2026-12-25", or "12-25" for every year'):format(day), 2)
    end
    self.holidays[day] = true
  end
  for i, w in ipairs(o.windows) do
    self.windows[i] = { days = days_of(w.days), from = minutes(w.from), to = minutes(w.to), holidays = w.holidays }
  end
  local out = {}
  for name, f in pairs(Calendar) do
    out[name] = function(_, at) return f(self, at) end
  end
  return setmetatable(out, {
    __index = function(_, key) error(("a calendar has no field '%s'"):format(tostring(key)), 2) end,
  })
end
