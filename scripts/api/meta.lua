-- lua/meta/gw.d.lua for lua-language-server and lua/meta/luacheckrc for luacheck.
local GUARD = [[
-- Types for editors (lua-language-server). Not code: whoever loads it gets an error.
local guard = true
if guard then
  error("gw.d.lua is for editors; policies have gw already")
end
]]

local function camel(s)
  return (s:gsub("^%l", string.upper):gsub("[_ .](%l)", string.upper))
end
local function comment(s)
  return s == "" and "" or " " .. s:gsub("\n", " ")
end

local function gw_d(spec)
  local out = {}
  local function p(...) out[#out + 1] = string.format(...) end
  p "---@meta gw"
  p "-- Made by scripts/api/main.lua from api/."
  p("%s", GUARD)
  for _, a in ipairs(spec.aliases) do
    p("---%s\n---@alias %s %s", a.text, a.name, a.type)
  end
  local hooks = {}
  for _, h in ipairs(spec.hooks) do hooks[#hooks + 1] = '"' .. h.name .. '"' end
  p("---@alias gw.Hook %s\n", table.concat(hooks, "|"))

  local function opts_type(list)
    local parts = {}
    for _, f in ipairs(list) do
      parts[#parts + 1] = string.format("%s%s: %s", f.name, f.optional and "?" or "", f.type)
    end
    return "{ " .. table.concat(parts, ", ") .. " }"
  end
  local function function_(e, shown, returned)
    p("---%s", e.text)
    local names = {}
    for _, a in ipairs(e.args) do
      names[#names + 1] = a.name
      p("---@param %s%s %s%s", a.name, a.optional and "?" or "",
        a.class or (a.fields and opts_type(a.fields)) or a.type, comment(a.text))
    end
    if returned then
      p("---@return %s", returned)
    end
    for i, r in ipairs(e.returns or {}) do
      local can_be_nil = i > 1 or (e.returns[2] ~= nil and r.type ~= "any") or r.text:find("nil") ~= nil
      p("---@return %s%s %s%s", r.type, can_be_nil and not r.type:find("%?$") and r.type ~= "any" and not r.type:find("|nil") and "?" or "", r.name,
        comment(r.text))
    end
    p("function %s(%s) end\n", shown, table.concat(names, ", "))
  end

  -- objects
  for _, o in ipairs(spec.objects) do
    if o.class ~= "gw.Verdict" then
      p("---%s\n---@class %s%s", o.text, o.class, (o.open and ": table<string, any>") or (o.plain and ": { [integer]: any }") or "")
    else
      p("---%s\n---@class gw.Verdict", o.text)
    end
    for _, f in ipairs(o.fields) do
      local type = f.type
      if f.write and not f.type:find(f.write:gsub("%p", "%%%0")) then type = type:gsub("%?$", "|nil") .. "|" .. f.write end
      p("---@field %s %s%s", f.name, type, comment(f.text .. (f.write and " May be written." or "")))
    end
    if o.name == "set" then
      p "---@operator len: integer"
    end
    local lua_name = camel(o.name)
    p("local %s = {}\n", lua_name)
    for _, m in ipairs(o.methods) do
      function_(m, lua_name .. ":" .. m.short)
    end
  end

  -- verdicts: one class for each, one alias for each hook
  for _, v in ipairs(spec.verdicts) do
    p("---@class gw.verdict.%s: gw.Verdict", camel(v.name))
  end
  p ""
  for _, h in ipairs(spec.hooks) do
    local list = {}
    for _, v in ipairs(h.c.verdicts) do list[#list + 1] = "gw.verdict." .. camel(v) end
    p("---What a handler of %s returns.\n---@alias gw.%sVerdict %s", h.name, camel(h.name), #list == 0 and "nil" or table.concat(list, "|"))
  end
  p "\n---@class gw\ngw = {}\n"
  local tables = {}
  local function open(path)
    local owner = path:match("^(.*)%.[^.]+$")
    if owner ~= "gw" and not tables[owner] then
      tables[owner] = true
      p("%s = {}\n", owner)
    end
  end
  for _, v in ipairs(spec.verdicts) do
    function_(v, v.path, "gw.verdict." .. camel(v.name))
  end
  for _, list in ipairs { spec.matchers, spec.actions, spec.functions } do
    for _, e in ipairs(list) do
      open(e.path)
      if e.value then
        p("---%s\n---@type %s\n%s = nil\n", e.text, e.value, e.path)
      elseif e.path == "gw.on" then
        p "---@class gw.HandlerOpts"
        for _, f in ipairs(e.args[3].fields) do
          p("---@field %s%s %s%s", f.name, f.optional and "?" or "", f.type, comment(f.text))
        end
        p("\n---%s", e.text)
        for _, h in ipairs(spec.hooks) do
          local names = {}
          for _, a in ipairs(h.args) do names[#names + 1] = a.name .. ": " .. a.type end
          p('---@overload fun(hook: "%s", handler: (fun(%s)%s), opts: gw.HandlerOpts)', h.name, table.concat(names, ", "),
            #h.c.verdicts == 0 and "" or ": gw." .. camel(h.name) .. "Verdict?")
        end
        p "function gw.on(hook, handler, opts) end\n"
      elseif e.path:match("%.lua$") or e.path:match("%.no$") or not e.path:match("%.and$") then
        function_(e, e.path)
      end
    end
  end
  for _, v in ipairs(spec.verdict_acts) do
    p("gw.action.%s = gw.%s", v, v)
  end
  return table.concat(out, "\n") .. "\n"
end

-- ---- luacheck ----

local function luacheckrc(spec)
  local tree = {}
  local function put(path)
    local at = tree
    for part in path:gmatch("[^.]+") do
      at[part] = at[part] or {}
      at = at[part]
    end
  end
  for _, list in ipairs { spec.verdicts, spec.matchers, spec.actions, spec.functions } do
    for _, e in ipairs(list) do
      if not e.only_tests then put(e.path) end
    end
  end
  put "gw.match.not"
  for _, v in ipairs(spec.verdict_acts) do put("gw.action." .. v) end
  for k, v in pairs(spec.globals) do
    if type(k) == "number" then
      put(v)
    else
      for _, n in ipairs(v) do put(k .. "." .. n) end
    end
  end
  local function text(t, indent)
    local names, out = {}, {}
    for n in pairs(t) do names[#names + 1] = n end
    table.sort(names)
    for _, n in ipairs(names) do
      local leaf = next(t[n]) == nil
      out[#out + 1] = string.format("%s[%q] = %s", indent, n, leaf and "{}" or
        "{ fields = {\n" .. text(t[n], indent .. "  ") .. "\n" .. indent .. "} }")
    end
    return table.concat(out, ",\n")
  end
  return [[
-- Made by scripts/api/main.lua from api/. What policies may use, for luacheck:
--     luacheck --config lua/meta/luacheckrc policy.lua
stds.sallyport = { read_globals = {
]] .. text(tree, "  ") .. [[

} }
stds.sallyport_tests = { read_globals = { gw = { other_fields = true } } }
stds.sallyport_config = { read_globals = { gw = { fields = { config = {}, secret = {} } } } }
std = "sallyport"
files["**/gateway.lua"] = { std = "sallyport_config" }
files["**/tests/*_test.lua"] = { std = "sallyport+sallyport_tests" }
unused_args = false
max_line_length = false
]]
end

return function(spec, write)
  write("lua/meta/gw.d.lua", gw_d(spec))
  write("lua/meta/luacheckrc", luacheckrc(spec))
end
