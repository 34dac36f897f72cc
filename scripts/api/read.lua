-- Reads api/*.lua, and from the C sources what they alone decide: which hook takes which verdict, what a failure becomes, where
-- matchers and actions can be used. Returns one table.
local M = {}

local function file(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("a")
  f:close()
  return text
end
M.file = file

local function fail(...)
  error(string.format(...), 0)
end

-- ---- The C tables ----

-- The initializers "[PREFIX_NAME] = ..." between `from` and the end of the table.
local function entries(text, from, prefix)
  local at = text:find(from, 1, true) or fail("the table %q is not where it was", from)
  local body = text:sub(at + #from, text:find("\n};", at, true))
  local list, order = {}, {}
  for name, value in body:gmatch("%[" .. prefix .. "_([%u_%d]+)%] = (.-),?%s*\n") do
    list[name:lower()] = value
    order[#order + 1] = name:lower()
  end
  return list, order
end

local function words(text, pattern)
  local set, list = {}, {}
  for w in text:gmatch(pattern) do
    set[w:lower()] = true
    list[#list + 1] = w:lower()
  end
  return set, list
end

-- A set of hooks as C writes it: HOOKBIT(A) | MACRO ...
local function c_sets(text, want)
  local macros = {}
  for name, body in text:gsub("\\\n", " "):gmatch("#define ([%u_]+) (%b())\n") do
    macros[name] = body
  end
  local function expand(s, depth)
    return (s:gsub("[%u_]+", function(w)
      return depth < 5 and macros[w] and expand(macros[w], depth + 1) or nil
    end))
  end
  return function(s)
    return words(expand(s, 0), want)
  end
end

local function read_c(root, spec)
  local verdict = file(root .. "/src/policy/verdict.c")
  local legal, order = entries(verdict, "legal[HOOKS] = {", "HOOK")
  local outcomes = entries(verdict, "outcomes[HOOKS] = {", "HOOK")
  spec.c_hooks = {}
  for _, h in ipairs(order) do
    local set, list = words(legal[h], "V%((%u[%u_]*)%)")
    local kind, code, status = (outcomes[h] or ""):match("VERDICT_([%u_]+), (%d+), \"([%d.]*)\"")
    if kind == nil then
      fail("src/policy/verdict.c: no outcome for the hook %s", h)
    end
    spec.c_hooks[h] = { verdicts = list, takes = set, outcome = kind:lower(), code = tonumber(code), status = status }
  end
  spec.c_order = order

  local matcher = file(root .. "/src/policy/matcher.c")
  local set_of = c_sets(matcher, "KNOWS_([%u_]+)")
  local knows = entries(matcher, "hook_knows[HOOKS] = {", "HOOK")
  spec.c_matchers = {}
  for op, value in pairs(entries(matcher, "ops[MATCH_OPS] = {", "MATCH")) do
    local name, needs = value:match('{ "(%w[%w_]*)", SHAPE_[%u_]+, (.-) }')
    local need, hooks = set_of(needs or fail("src/policy/matcher.c: %s cannot be read", op)), {}
    for _, h in ipairs(order) do
      local has, ok = set_of(knows[h] or fail("src/policy/matcher.c: %s is not there", h)), true
      for bit in pairs(need) do
        ok = ok and has[bit]
      end
      hooks[#hooks + 1] = ok and h ~= "every" and h or nil
    end
    spec.c_matchers[name] = hooks
  end

  local rules = file(root .. "/src/policy/rules.c")
  local act_set = c_sets(rules, "HOOKBIT%(([%u_]+)%)")
  spec.c_actions = {}
  for _, value in pairs(entries(rules, "acts[] = {", "ACT")) do
    local name, hooks = value:match('{ "([^"]+)", (.-) }')
    local set, list = act_set(hooks), {}
    for _, h in ipairs(order) do
      list[#list + 1] = (hooks == "0" or set[h]) and h ~= "every" and h or nil
    end
    spec.c_actions[name] = list
  end
  local verdict_acts = rules:match("verdict_acts%[%] = {(.-)}")
  local _, list = words(verdict_acts, '"([%l_]+)"')
  spec.verdict_acts = list
end

-- ---- The specification ----

local KEYS = { hook = "args on_nil failure more example since", verdict = "fields more example since contexts",
  matcher = "args more example since", action = "args more example since",
  func = "group contexts yields errors args returns more example since value checks_itself only_tests in_lua",
  object = "class metatable fields methods more example since open opaque plain view in_lua",
  method = "contexts yields errors args returns more example since" }

-- Every entry has the same fields afterwards; args and fields have names: name, type, text, optional, fields, class.
local function arg(where, a)
  local name = a[1] or fail("%s: an argument has no name", where)
  local out = { name = name:gsub("%?$", ""), type = a[2] or fail("%s: %s has no type", where, name), text = a[3] or "",
    optional = name:find("%?$") ~= nil, class = a.class, write = a.write }
  if a.fields ~= nil then
    out.fields = {}
    for i, f in ipairs(a.fields) do
      out.fields[i] = arg(where .. "." .. out.name, f)
    end
  end
  return out
end

local function args(where, list)
  local out = {}
  for i, a in ipairs(list or {}) do
    out[i] = arg(where, a)
  end
  return out
end

local function entry(kind, name, e)
  local allowed = " " .. KEYS[kind] .. " "
  for k in pairs(e) do
    if k ~= 1 and not allowed:find(" " .. k .. " ", 1, true) then
      fail("api: %s %s: there is no field '%s'", kind, name, tostring(k))
    end
  end
  e.kind, e.name, e.text, e.since = kind, name, e[1] or fail("api: %s %s has no text", kind, name), e.since or "0.1"
  e.more = e.more or ""
  return e
end

function M.read(root, files)
  local spec = { hooks = {}, verdicts = {}, matchers = {}, actions = {}, functions = {}, objects = {}, aliases = {} }
  local seen = {}
  local function add(list, kind, finish)
    return function(name)
      return function(e)
        e = entry(kind, name, e)
        if seen[kind .. name] then
          fail("api: %s %s is there twice", kind, name)
        end
        seen[kind .. name] = true
        finish(e)
        list[#list + 1] = e
        list[name] = e
      end
    end
  end
  local function example_needed(e)
    if e.example == nil then
      fail("api: %s %s has no example", e.kind, e.name)
    end
  end
  local env = { string = string, table = table, ipairs = ipairs, pairs = pairs }
  env.alias = function(name)
    return function(e)
      spec.aliases[#spec.aliases + 1] = { name = name, type = e[1], text = e[2] }
      spec.aliases[name] = e[1]
    end
  end
  env.hook = add(spec.hooks, "hook", function(e)
    example_needed(e)
    e.args = args(e.name, e.args)
    e.example.hook = e.name
  end)
  env.verdict = add(spec.verdicts, "verdict", function(e)
    example_needed(e)
    e.fields = args("gw." .. e.name, e.fields)
    e.path, e.contexts, e.errors, e.yields = "gw." .. e.name, "everywhere", "a wrong field", false
    e.args = { { name = "fields", type = "table", text = "", optional = true, fields = e.fields, required_inside = true } }
  end)
  env.matcher = add(spec.matchers, "matcher", function(e)
    example_needed(e)
    e.args = args("gw.match." .. e.name, e.args)
    e.path, e.contexts, e.errors, e.yields = "gw.match." .. e.name, "load", "a value that it does not take", false
    e.returns = { { name = "matcher", type = "gw.Matcher", text = "" } }
  end)
  env.action = add(spec.actions, "action", function(e)
    example_needed(e)
    e.args = args("gw.action." .. e.name, e.args)
    e.path, e.contexts, e.errors, e.yields = "gw.action." .. e.name, "load", "a value that it does not take", false
    e.returns = { { name = "action", type = "gw.Action", text = "" } }
  end)
  env.func = add(spec.functions, "func", function(e)
    example_needed(e)
    e.path = e.name
    e.args = args(e.name, e.args)
    e.returns = args(e.name, e.returns)
    e.errors = e.errors or "a wrong argument"
    if e.group == nil or e.contexts == nil then
      fail("api: %s has no group or no contexts", e.name)
    end
  end)
  env.object = add(spec.objects, "object", function(e)
    if not e.opaque then
      example_needed(e)
    end
    e.fields = args(e.name, e.fields)
    local methods = {}
    for name, m in pairs(e.methods or {}) do
      if m == "note" then
        m = { "A line in the log, with the ids of session and message.", args = { { "text", "string" } } }
      end
      m = entry("method", e.name .. ":" .. name, m)
      m.short, m.args, m.returns = name, args(m.name, m.args), args(m.name, m.returns)
      m.contexts = m.contexts or "wherever there is one"
      m.errors = m.errors or "a wrong argument"
      methods[#methods + 1] = m
    end
    table.sort(methods, function(a, b) return a.short < b.short end)
    e.methods = methods
  end)
  env.globals = function(t)
    spec.globals = t
  end
  -- Examples: a whole file, what stands in a handler, a matcher or an action in a rule.
  env.file = function(text) return { text = text } end
  env.body = function(text) return { text = text } end
  env.at = function(hook, text) return { hook = hook, text = text } end
  env.testing = function(text) return { text = text, is_test = true } end
  env.when = function(hook, text)
    return { text = string.format('gw.rule {\n  name = "example", at = "%s",\n  when = %s,\n  act = gw.action.note "it matches",\n}',
      hook, text) }
  end
  env.act = function(hook, text)
    return { text = string.format('gw.rule {\n  name = "example", at = "%s",\n  act = %s,\n}', hook, text) }
  end
  for _, name in ipairs(files) do
    assert(loadfile(root .. "/api/" .. name, "t", env))()
  end
  read_c(root, spec)
  for _, h in ipairs(spec.c_order) do
    if h ~= "every" and spec.hooks[h] == nil then
      fail("api: the hook %s is in src/policy/verdict.c and not in api/hooks.lua", h)
    end
  end
  for _, h in ipairs(spec.hooks) do
    h.c = spec.c_hooks[h.name] or fail("api: src/policy/verdict.c has no hook %s", h.name)
  end
  return spec
end

-- ---- Types ----

-- The parts of a union: commas and bars inside brackets do not count.
function M.union(type)
  local parts, depth, start = {}, 0, 1
  type = type:gsub("%?$", "|nil")
  for i = 1, #type do
    local c = type:sub(i, i)
    if c == "(" or c == "{" or c == "<" then
      depth = depth + 1
    elseif c == ")" or c == "}" or c == ">" then
      depth = depth - 1
    elseif c == "|" and depth == 0 then
      parts[#parts + 1] = type:sub(start, i - 1)
      start = i + 1
    end
  end
  parts[#parts + 1] = type:sub(start)
  return parts
end

return M
