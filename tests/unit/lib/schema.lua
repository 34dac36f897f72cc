local s = gw.schema
local o = s.options("demo", {
  words = { type = "list", of = "text", default = { "x" } },
  every = { type = "duration", default = "1h" },
  mode  = { type = "text", one_of = { "a", "b" }, default = "a" },
  more  = { type = "table", fields = { n = { type = "integer", default = 7 } }, default = {} },
  none  = "text",
})
assert(#o.words == 2 and o.words[2] == "b" and o.every == 10800 and o.mode == "a" and o.more.n == 7 and o.none == nil)

local function one(spec, value) return s.check(spec, value, "v") end
local function says(spec, value, words)
  local got, problems = one(spec, value)
  assert(got == nil, words)
  assert(problems[1]:find(words, 1, true), problems[1])
end

assert(one("text", "x") == "x")
assert(one("text", "frozen"))
says("text", "a\nb", "without line breaks")
says("text", "a\0b", "without line breaks")
says({ type = "text", max = 3 }, "long", "at most 3 octets")
says({ type = "text", pattern = "%d+" }, "12x", "another form")
assert(one("integer", 3) == 3)
says("integer", 3.5, "a whole number")
says({ type = "integer", min = 2 }, 1, "at least 2")
assert(one("number", 3.5) == 3.5)
assert(one("boolean", false) == false)
says("boolean", "yes", "true or false")
assert(one("duration", "2d") == 172800 and one("duration", 5) == 5)
says("duration", "2x", "a time such as")
says("duration", -1, "a time such as")
assert(one("level", "verify") == "verify")
says("level", "tls", '"may"')
for _, d in ipairs { "x.example", "*.x.example", ".x.example", "*" } do assert(one("domain", d) == d) end
says("domain", "a b", "x.example")
for _, a in ipairs { "u@x.example", "u@", "@x.example", "@.x.example", "<>" } do assert(one("address", a) == a, a) end
says("address", "u", "user@x.example")
assert(one("mailbox", "u@x.example") == "u@x.example")
says("mailbox", "u@", "user@x.example")
assert(one("network", "10.0.0.0/8") == "10.0.0.0/8")
says("network", "10.0.0.1/8", "a network")
assert(one("date", "2026-12-24") == "2026-12-24")
says("date", "2026-02-30", "a date")
assert(one("moment", "1970-01-02T00:00:01Z") == 86401)
says("moment", "2026-13-01T00:00:00Z", "a time in UTC")
assert(one("time", "24:00") == "24:00")
says("time", "24:01", "a time of day")
says({ type = "list", of = "integer" }, { 1, "x" }, "v[2]: a whole number")
says({ type = "list" }, { a = 1 }, "a list is expected")
says({ type = "list" }, { 1, nil, 3 }, "gaps")
says({ type = "list" }, 1, "a list is expected")
says({ type = "list", max = 1 }, { 1, 2 }, "at most 1 entries")
says({ type = "map", of = "integer", keys = "domain" }, { ["x.example"] = "y" }, 'v["x.example"]: a whole number')
says({ type = "map", keys = "network" }, { x = 1 }, "a network")
says(s.table { a = "text" }, { b = 1 }, "there is no 'b'")
says({ type = "text", one_of = { "a", "b" } }, "c", 'one of "a", "b"')

-- The copy is the policy's own.
local given = { a = { 1 } }
local copy = one({ type = "map", of = { type = "list" } }, given)
copy.a[1] = 2
assert(given.a[1] == 1)
-- A schema that is wrong is an error of the policy.
assert(not pcall(s.check, { type = "list", of = { typ = "text" } }, {}))
-- Not endless.
local deep = {}
local at = deep
for _ = 1, 50 do at[1] = {}; at = at[1] end
local nest = { type = "list" }
nest.of = nest
assert(not pcall(s.check, nest, deep))
assert(s.seconds("4h") == 14400 and s.seconds("x") == nil)
