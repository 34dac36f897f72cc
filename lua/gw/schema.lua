-- gw.schema: what a table of options may hold. A schema is plain data: it checks values and fills in
-- defaults, and documentation, JSON Schema and types for editors are made from it.
local _, core = ...
local M = {}

local DEPTH = 16

local function quoted(v)
  local text = tostring(v)
  if type(v) == "string" then
    text = '"' .. (#text > 60 and text:sub(1, 57) .. "..." or text) .. '"'
  end
  return text
end

local function sorted_keys(t)
  local keys = {}
  for k in gw.sorted_pairs(t) do keys[#keys + 1] = k end
  return keys
end

-- ---- Types: each takes (value, spec) and returns the value to use, or nil and what is expected ----

local types = {}

local function in_range(v, spec, size, unit)
  if spec.min and size < spec.min then return nil, ("at least %s%s"):format(spec.min, unit) end
  if spec.max and size > spec.max then return nil, ("at most %s%s"):format(spec.max, unit) end
  return v
end

function types.text(v, spec)
  if type(v) ~= "string" then return nil, "a text" end
  if v:find("[\r\n\0]") and not spec.lines then return nil, "a text without line breaks" end
  if spec.pattern and not v:find("^" .. spec.pattern .. "$") then return nil, spec.expects or "another form" end
  return in_range(v, spec, #v, " octets")
end

function types.integer(v, spec)
  if math.type(v) ~= "integer" then return nil, "a whole number" end
  return in_range(v, spec, v, "")
end

function types.number(v, spec)
  if type(v) ~= "number" then return nil, "a number" end
  return in_range(v, spec, v, "")
end

function types.boolean(v)
  if type(v) ~= "boolean" then return nil, "true or false" end
  return v
end

local units = { s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

-- Becomes seconds.
function types.duration(v, spec)
  local n, unit
  if type(v) == "string" then
    n, unit = v:match("^(%d+)([smhdw])$")
    if n and #n <= 9 then v = math.tointeger(tonumber(n)) * units[unit] end
  end
  if type(v) ~= "number" or v ~= v or v < 0 then return nil, 'a time such as "30m", "4h" or "2d"' end
  return in_range(v, spec, v, " seconds")
end

local levels = { may = 0, encrypt = 1, verify = 2, secure = 3, requiretls = 4 }

function types.level(v)
  if levels[v] == nil then return nil, '"may", "encrypt", "verify", "secure" or "requiretls"' end
  return v
end

function types.domain(v)        -- the forms of sender_domain
  if type(v) ~= "string" or not (v == "*" or gw.domain((v:gsub("^%*?%.", "")))) then
    return nil, '"x.example", "*.x.example", ".x.example" or "*"'
  end
  return v
end

function types.address(v)       -- the forms of sender
  if type(v) ~= "string" then return nil, "an address" end
  local whole = gw.address(v)
  if v == "<>" or whole and whole.domain then return v end
  if v:find("^[^@%s]+@$") or (v:find("^@") and types.domain(v:sub(2))) then return v end
  return nil, '"user@x.example", "user@", "@x.example", "@.x.example" or "<>"'
end

function types.mailbox(v)       -- one address in full
  local whole = type(v) == "string" and gw.address(v)
  if not whole or not whole.domain then return nil, '"user@x.example"' end
  return v
end

function types.network(v)
  if type(v) ~= "string" or not pcall(gw.cidr, { v }) then return nil, 'a network such as "10.0.0.0/8"' end
  return v
end

function types.date(v)
  local y, m, d = (type(v) == "string" and v or ""):match("^(%d%d%d%d)-(%d%d)-(%d%d)$")
  local t = y and os.time { year = y, month = m, day = d, hour = 12 }
  if not t or os.date("!%Y-%m-%d", t) ~= v then return nil, 'a date such as "2026-12-24"' end
  return v
end

function types.time(v)          -- of day
  local h, m = (type(v) == "string" and v or ""):match("^(%d%d):(%d%d)$")
  if not h or tonumber(m) > 59 or tonumber(h) * 60 + tonumber(m) > 1440 then
    return nil, 'a time of day such as "08:00", up to "24:00"'
  end
  return v
end

-- Becomes seconds since 1970.
function types.moment(v)
  local y, mo, d, h, mi, s = (type(v) == "string" and v or ""):match("^(%d%d%d%d)-(%d%d)-(%d%d)T(%d%d):(%d%d):(%d%d)Z$")
  local t = y and os.time { year = y, month = mo, day = d, hour = h, min = mi, sec = s }
  if not t or os.date("!%Y-%m-%dT%H:%M:%SZ", t) ~= v then return nil, 'a time in UTC such as "2026-12-24T22:00:00Z"' end
  return t
end

function types.any(v) return v end

local simple = types
local composed = { list = true, map = true, table = true }

local function type_names()
  local names = sorted_keys(simple)
  for k in gw.sorted_pairs(composed) do names[#names + 1] = k end
  return names
end

-- ---- Specs ----

-- "text" is short for { type = "text" }.
local function spec_of(s)
  if type(s) == "string" then return { type = s } end
  return s
end

local fields = {
  type = true, default = true, doc = true, required = true, min = true, max = true, one_of = true,
  pattern = true, expects = true, lines = true, of = true, keys = true, fields = true, example = true,
}

local function check_spec(s, where, depth)
  s = spec_of(s)
  if type(s) ~= "table" then error("gw.schema: " .. where .. ": a table or the name of a type is expected", 0) end
  if depth > DEPTH then error("gw.schema: " .. where .. ": nested too deep", 0) end
  for k in gw.sorted_pairs(s) do
    if not fields[k] then
      local near = core.nearest(tostring(k), sorted_keys(fields))
      error(("gw.schema: %s has no field '%s'%s"):format(where, k, near and " (did you mean '" .. near .. "'?)" or ""), 0)
    end
  end
  if not simple[s.type] and not composed[s.type] then
    local near = core.nearest(tostring(s.type), type_names())
    error(("gw.schema: %s: there is no type '%s'%s"):format(where, tostring(s.type),
      near and " (did you mean '" .. near .. "'?)" or ""), 0)
  end
  if s.type == "list" or s.type == "map" then check_spec(s.of or "any", where .. "[]", depth + 1) end
  if s.type == "map" and s.keys then check_spec(s.keys, where .. "[key]", depth + 1) end
  if s.type == "table" then
    for k, f in gw.sorted_pairs(s.fields or {}) do check_spec(f, where .. "." .. k, depth + 1) end
  end
end

-- ---- Checking ----

local check

local function problem(problems, where, text)
  if #problems < 50 then problems[#problems + 1] = where .. ": " .. text end
end

local function check_list(spec, v, where, problems, depth)
  local out, n = {}, 0
  for k in pairs(v) do
    if math.type(k) ~= "integer" then
      problem(problems, where, "a list is expected, and there is a name in it: " .. quoted(k))
      return nil
    end
    n = n + 1
  end
  if n ~= #v then
    problem(problems, where, "a list without gaps is expected")
    return nil
  end
  local _, wrong = in_range(v, spec, n, " entries")
  if wrong then problem(problems, where, wrong .. " are expected, there are " .. n) end
  for i = 1, n do
    out[i] = check(spec.of or "any", v[i], ("%s[%d]"):format(where, i), problems, depth)
  end
  return out
end

local function check_map(spec, v, where, problems, depth)
  local out, n = {}, 0
  for k, item in gw.sorted_pairs(v) do
    local at = ("%s[%s]"):format(where, quoted(k))
    local key = spec.keys and check(spec.keys, k, at, problems, depth) or k
    n = n + 1
    out[key] = check(spec.of or "any", item, at, problems, depth)
  end
  local _, wrong = in_range(v, spec, n, " entries")
  if wrong then problem(problems, where, wrong .. " are expected, there are " .. n) end
  return out
end

local function check_table(spec, v, where, problems, depth)
  local out, known = {}, spec.fields or {}
  for k in gw.sorted_pairs(v) do
    if known[k] == nil then
      local near = core.nearest(tostring(k), sorted_keys(known))
      problem(problems, where, ("there is no '%s'%s"):format(k, near and " (did you mean '" .. near .. "'?)" or ""))
    end
  end
  for k, f in gw.sorted_pairs(known) do
    f = spec_of(f)
    out[k] = check(f, v[k], where .. "." .. k, problems, depth)
  end
  return out
end

-- The value with its defaults, as a copy; nil when there is none or it does not fit.
function check(spec, v, where, problems, depth)
  spec = spec_of(spec)
  if v == nil then
    v = spec.default
    if v == nil then
      if spec.required then problem(problems, where, "is required") end
      return nil
    end
  end
  if depth > DEPTH then
    problem(problems, where, "nested too deep")
    return nil
  end
  if composed[spec.type] then
    if type(v) ~= "table" then
      problem(problems, where, (spec.type == "list" and "a list" or "a table") .. " is expected, not " .. quoted(v))
      return nil
    end
    local how = spec.type == "list" and check_list or spec.type == "map" and check_map or check_table
    return how(spec, v, where, problems, depth + 1)
  end
  local got, expected = simple[spec.type](v, spec)
  if got == nil then
    problem(problems, where, expected .. " is expected, not " .. quoted(v))
    return nil
  end
  if spec.one_of then
    for _, one in ipairs(spec.one_of) do
      if one == v then return got end
    end
    local words = {}
    for i, one in ipairs(spec.one_of) do words[i] = quoted(one) end
    problem(problems, where, "one of " .. table.concat(words, ", ") .. " is expected, not " .. quoted(v))
    return nil
  end
  return got
end

-- gw.schema.check(schema, value [, where]) -> a copy with defaults; or nil and a list of problems
function M.check(spec, v, where)
  where = where or "value"
  check_spec(spec, where, 0)
  local problems = {}
  local out = check(spec, v, where, problems, 0)
  if #problems > 0 then return nil, problems end
  return out
end

-- gw.schema.table { field = spec, ... }: a table that has these fields and no others
function M.table(t)
  return { type = "table", fields = t }
end

-- gw.schema.options(name, fields): what the configuration says in policy.options[name]
function M.options(name, t)
  local spec = M.table(t)
  local where = "policy.options." .. name
  check_spec(spec, where, 0)
  core.declare(name, spec)
  local out, problems = M.check(spec, core.options(name) or {}, where)
  if not out then error(table.concat(problems, "; "), 0) end
  return out
end

-- gw.schema.seconds("4h") -> 14400; nil when it is no time
function M.seconds(text)
  return (types.duration(text, {}))
end

-- ---- What is made from a schema ----

local function value_text(v)
  if type(v) ~= "table" then return quoted(v) end
  local parts = {}
  for i = 1, #v do parts[i] = value_text(v[i]) end
  if #parts == 0 then
    for k, x in gw.sorted_pairs(v) do
      local name = type(k) == "string" and k:find("^[%a_][%w_]*$") and k or "[" .. quoted(k) .. "]"
      parts[#parts + 1] = name .. " = " .. value_text(x)
    end
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

local function type_text(s)
  s = spec_of(s)
  if s.one_of then
    local words = {}
    for i, one in ipairs(s.one_of) do words[i] = quoted(one) end
    return table.concat(words, ", ")
  end
  if s.type == "list" then return "list of " .. type_text(s.of or "any") end
  if s.type == "map" then return "table of " .. type_text(s.of or "any") end
  if s.type == "table" then
    local names = {}
    for k, f in gw.sorted_pairs(s.fields or {}) do
      names[#names + 1] = k .. (spec_of(f).required and "" or "?") .. ": " .. type_text(f)
    end
    return "{ " .. table.concat(names, ", ") .. " }"
  end
  return s.type
end

-- gw.schema.doc(schema): a table of Markdown, one line a field
function M.doc(spec)
  local lines = { "| Option | Type | Default | |", "| --- | --- | --- | --- |" }
  for k, s in gw.sorted_pairs(spec.fields) do
    s = spec_of(s)
    local default = s.default ~= nil and "`" .. value_text(s.default) .. "`" or s.required and "required" or "none"
    lines[#lines + 1] = ("| `%s` | %s | %s | %s |"):format(k, (type_text(s):gsub("|", "\\|")), (default:gsub("|", "\\|")),
      s.doc or "")
  end
  return table.concat(lines, "\n") .. "\n"
end

local json_names = {
  integer = "integer", number = "number", boolean = "boolean", list = "array", map = "object", table = "object",
}

-- gw.schema.json_schema(schema): JSON Schema as a table
function M.json_schema(spec)
  spec = spec_of(spec)
  local out = { type = json_names[spec.type] or "string", description = spec.doc }
  if spec.type == "any" then out.type = nil end
  if spec.type == "duration" then
    out.type, out.pattern = { "string", "number" }, "^[0-9]{1,9}[smhdw]$"
  elseif spec.type == "level" then
    out.enum = { "may", "encrypt", "verify", "secure", "requiretls" }
  elseif spec.type == "list" then
    out.items, out.minItems, out.maxItems = M.json_schema(spec.of or "any"), spec.min, spec.max
  elseif spec.type == "map" then
    out.additionalProperties, out.minProperties, out.maxProperties = M.json_schema(spec.of or "any"), spec.min, spec.max
  elseif spec.type == "table" then
    out.properties, out.additionalProperties, out.required = {}, false, {}
    for k, f in gw.sorted_pairs(spec.fields or {}) do
      out.properties[k] = M.json_schema(f)
      if spec_of(f).required then out.required[#out.required + 1] = k end
    end
    if #out.required == 0 then out.required = nil end
  elseif spec.type == "text" then
    out.minLength, out.maxLength = spec.min, spec.max
  else
    out.minimum, out.maximum = spec.min, spec.max
  end
  if spec.one_of then out.enum = spec.one_of end
  if spec.default ~= nil then out.default = spec.default end
  return out
end

local lua_names = { integer = "integer", number = "number", boolean = "boolean", any = "any", duration = "string|number",
  level = '"may"|"encrypt"|"verify"|"secure"|"requiretls"' }

local function lua_type(s)
  s = spec_of(s)
  if s.one_of then
    local words = {}
    for i, one in ipairs(s.one_of) do words[i] = quoted(one) end
    return table.concat(words, "|")
  end
  if s.type == "list" then
    local of = lua_type(s.of or "any")
    return of:find("|", 1, true) and "(" .. of .. ")[]" or of .. "[]"
  end
  if s.type == "map" then return "table<string, " .. lua_type(s.of or "any") .. ">" end
  if s.type == "table" then
    local names = {}
    for k, f in gw.sorted_pairs(s.fields or {}) do
      names[#names + 1] = k .. (spec_of(f).required and "" or "?") .. ": " .. lua_type(f)
    end
    return "{ " .. table.concat(names, ", ") .. " }"
  end
  return lua_names[s.type] or "string"
end

-- gw.schema.luals(name, schema): a class for the Lua language server
function M.luals(name, spec)
  local lines = { "---@class " .. name }
  for k, s in gw.sorted_pairs(spec.fields) do
    s = spec_of(s)
    lines[#lines + 1] = ("---@field %s%s %s%s"):format(k, s.required and "" or "?", lua_type(s), s.doc and " " .. s.doc or "")
  end
  return table.concat(lines, "\n") .. "\n"
end

-- For the command line: all that was declared.
function M.export(declared, as)
  local parts = {}
  if as == "json" then
    local all = {}
    for name, spec in gw.sorted_pairs(declared) do
      all[name] = M.json_schema(spec)
    end
    return gw.json.encode({ ["$schema"] = "https://json-schema.org/draft/2020-12/schema", type = "object",
      additionalProperties = false, properties = all }) .. "\n"
  end
  for name, spec in gw.sorted_pairs(declared) do
    if as == "types" then
      parts[#parts + 1] = M.luals("options." .. name, spec)
    else
      parts[#parts + 1] = "policy.options." .. name .. "\n\n" .. M.doc(spec)
    end
  end
  return (as == "types" and "---@meta\n\n" or "") .. table.concat(parts, "\n")
end

return M
