-- gw.redact: taking out of a text what it should not show. All of it is linear in the text.
local M = {}

-- ---- Card numbers ----

-- The check digit of ISO/IEC 7812-1.
function M.luhn(digits)
  local sum, double = 0, false
  for i = #digits, 1, -1 do
    local d = digits:byte(i) - 48
    if d < 0 or d > 9 then return false end
    if double then
      d = d * 2
      if d > 9 then d = d - 9 end
    end
    sum, double = sum + d, not double
  end
  return #digits > 0 and sum % 10 == 0
end

-- First digits and lengths that are issued; test numbers of a terminal are among them.
local function is_issued(d)
  local n, two, three, four = #d, tonumber(d:sub(1, 2)), tonumber(d:sub(1, 3)), tonumber(d:sub(1, 4))
  if d:sub(1, 1) == "4" then return n == 13 or n == 16 or n == 19 end
  if two >= 51 and two <= 55 or four >= 2221 and four <= 2720 then return n == 16 end
  if two == 34 or two == 37 then return n == 15 end
  if two == 36 or two == 38 or two == 39 or three >= 300 and three <= 305 then return n == 14 end
  if four == 6011 or two == 65 or three >= 644 and three <= 649 then return n == 16 or n == 19 end
  if four >= 3528 and four <= 3589 then return n == 16 end
  if two == 62 then return n >= 16 and n <= 19 end
  return false
end

-- Calls f(from, to, digits) for every run of digits, with single spaces or hyphens between, that may be
-- a card's number. A run that is longer is looked at as a whole only: no number within a number.
local function each_card(text, f)
  local at = 1
  while true do
    local from = text:find("%d", at)
    if not from then return end
    local to = from
    while true do
      local next_digit = text:match("^[ -]?()%d", to + 1)
      if not next_digit then break end
      to = next_digit
    end
    local digits = text:sub(from, to):gsub("[ -]", "")
    if #digits >= 13 and #digits <= 19 and is_issued(digits) and M.luhn(digits) and
        not text:find("^[%w_]", to + 1) and not (from > 1 and text:find("^[%w_]", from - 1)) then
      if f(from, to, digits) == false then return end
    end
    at = to + 1
  end
end

-- How many card numbers are in the text; stops counting at `enough`.
function M.count_cards(text, enough)
  local n = 0
  each_card(text, function()
    n = n + 1
    return not (enough and n >= enough)
  end)
  return n
end

-- All but the last four digits become "*".
function M.cards(text)
  local out, at = {}, 1
  each_card(text, function(from, to, digits)
    out[#out + 1] = text:sub(at, from - 1)
    out[#out + 1] = ("*"):rep(#digits - 4) .. digits:sub(-4)
    at = to + 1
  end)
  out[#out + 1] = text:sub(at)
  return table.concat(out)
end

-- ---- Addresses and hosts ----

-- "ann@x.example" becomes "a***@x.example".
function M.addresses(text)
  return (text:gsub("([%w!#$%%&'*+/=?^_`{|}~.-])[%w!#$%%&'*+/=?^_`{|}~.-]*(@[%w.-]+)", "%1***%2"))
end

-- IP addresses become `with`, "[address]" unless said otherwise.
function M.ips(text, with)
  with = (with or "[address]"):gsub("%%", "%%%%")
  text = text:gsub("%f[%w.:]%d+%.%d+%.%d+%.%d+%f[^%w.:]", with)
  return (text:gsub("%f[%x:]%x*:[%x:]*:[%x:.]*%f[^%x:.]", function(word)
    local colons = select(2, word:gsub(":", ""))        -- a time of day has two
    return (word:find("::", 1, true) or colons == 7) and with or word
  end))
end

-- Names at or below one of the domains become `with`, "[host]" unless said otherwise.
function M.hosts(text, domains, with)
  with = with or "[host]"
  return (text:gsub("[%w_-]+%.[%w_.-]*[%w_-]", function(name)
    local low = name:lower()
    for _, d in ipairs(domains) do
      d = d:lower():gsub("^%*?%.", "")
      if low == d or low:sub(-#d - 1) == "." .. d then return with end
    end
    return name
  end))
end

return M
