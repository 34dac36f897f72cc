-- gw.auth: what others found out about a message's origin (SPF, DKIM, DMARC, ARC): the fields
-- Authentication-Results (RFC 8601) of servers that are trusted by name. The gateway itself checks
-- nothing, and who can write to it can write such a field: trust only names whose fields the first
-- server of yours removes from what comes in.
local _, core = ...
local schema = require "gw.schema"

local FIELDS, OCTETS = 20, 8192

local spec = schema.table {
  trust = { type = "list", of = "text", required = true, min = 1, max = 100 },
}

-- Comments go, quoted strings stay one word each: "a (b) c=\"d;e\"" becomes parts cut at ";".
local function parts_of(text)
  local parts, now, depth, i = {}, {}, 0, 1
  while i <= #text do
    local c = text:sub(i, i)
    if c == "\\" then
      if depth == 0 then now[#now + 1] = text:sub(i + 1, i + 1) end
      i = i + 1
    elseif c == "(" then
      depth = depth + 1
    elseif c == ")" and depth > 0 then
      depth = depth - 1
    elseif depth > 0 then
      -- inside a comment
    elseif c == '"' then
      local value = {}
      i = i + 1
      while i <= #text and text:sub(i, i) ~= '"' do
        if text:sub(i, i) == "\\" then i = i + 1 end
        value[#value + 1] = text:sub(i, i)
        i = i + 1
      end
      -- White space would cut the word in two; nobody compares a value with it.
      now[#now + 1] = table.concat(value):gsub("%s", "_")
    elseif c == ";" then
      parts[#parts + 1] = table.concat(now)
      now = {}
    else
      now[#now + 1] = c
    end
    i = i + 1
  end
  parts[#parts + 1] = table.concat(now)
  return parts
end

-- { id =, results = { { method =, result =, reason =, ["smtp.mailfrom"] = ... } } }, or nil
local function parse(text)
  if #text > OCTETS then return nil end
  local parts = parts_of(text)
  local id = parts[1]:match("^%s*(%S+)")
  if not id then return nil end
  local out = { id = id:lower(), results = {} }
  for k = 2, #parts do
    local part = parts[k]:gsub("%s*=%s*", "=")
    local method, result, rest = part:match("^%s*([%w-]+)[%d/]*=([%w-]+)(.*)$")
    if method then
      local one = { method = method:lower(), result = result:lower(), props = {} }
      for name, value in rest:gmatch("([%w._-]+)=(%S+)") do
        name = name:lower()
        if name == "reason" then one.reason = value else one.props[name] = value end
      end
      out.results[#out.results + 1] = one
    end
  end
  return out
end

-- What the servers in the set say about the message: a list of { server =, method =, result =, reason =, props = }.
local function read(message, trusted)
  local list = {}
  for i, value in ipairs(message:headers("Authentication-Results")) do
    if i > FIELDS then break end
    local field = parse(value)
    if field and trusted:has(field.id) then
      for _, one in ipairs(field.results) do
        one.server = field.id
        list[#list + 1] = one
      end
    end
  end
  return list
end

-- message.auth_results: of the servers that the configuration trusts.
local servers = gw.set(core.auth_servers())
core.read_auth(function(message) return read(message, servers) end)

-- gw.auth { trust = { "mx1.acme.example" } }
return function(t)
  local o, problems = schema.check(spec, t, "gw.auth")
  if not o then error(table.concat(problems, "; "), 2) end
  local trusted = gw.set(o.trust)
  local out = {}

  function out:results(message)
    return read(message, trusted)
  end

  -- The result of one method, "pass", "fail", "none" and so on. nil: nobody says. One pass is enough.
  function out:result(message, method)
    local found
    for _, one in ipairs(self:results(message)) do
      if one.method == method and found ~= "pass" then found = one.result end
    end
    return found
  end

  function out:passes(message, method)
    return self:result(message, method) == "pass"
  end

  return setmetatable(out, {
    __index = function(_, key) error(("auth has no field '%s'"):format(tostring(key)), 2) end,
  })
end
