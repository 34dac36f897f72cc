-- src/policy/api_table.c and src/policy/api_help.c
local read = require "read"
local text_of = require "text"

local BITS = { none = 1, ["nil"] = 2, boolean = 4, lightuserdata = 8, number = 16, string = 32, table = 64, ["function"] = 128,
  userdata = 256 }
local ALL = 1023

-- The bits of Lua types that a type of the specification allows, and the words that say so.
local function mask_of(spec, type, words)
  local mask = 0
  for _, part in ipairs(read.union(type)) do
    local bits, word
    if spec.aliases[part] then
      bits = mask_of(spec, spec.aliases[part], words)
    elseif part == "any" then
      bits = ALL
    elseif part == "nil" then
      bits = BITS["nil"] + BITS.none
    elseif part == "string" or part:find('^"') then
      bits, word = BITS.string + BITS.number, "string"
    elseif part == "number" or part == "integer" then
      bits, word = BITS.number + BITS.string, "number"
    elseif part == "boolean" then
      bits, word = BITS.boolean, part
    elseif part == "function" or part:find("^fun%(") then
      bits, word = BITS["function"], "function"
    elseif part == "table" or part:find("%[%]$") or part:find("^{") or part:find("^table<") then
      bits, word = BITS.table, "table"
    elseif part == "gw.Hook" then
      bits, word = BITS.string, "string"
    else
      for _, o in ipairs(spec.objects) do
        if o.class == part then
          bits, word = BITS.userdata + BITS.lightuserdata, o.name
        end
      end
    end
    if bits == nil then
      error("api: there is no type " .. part, 0)
    end
    if word and not words[word] then
      words[word] = true
      words[#words + 1] = word
    end
    mask = mask | bits
  end
  return mask
end

local function quote(s)
  return '"' .. s:gsub('[\\"]', "\\%0"):gsub("\n", "\\n\"\n\t\"") .. '"'
end

-- Of functions and methods that are checked: { owner, name, shown, args, method }
local function callables(spec)
  local list = {}
  local function add(owner, name, shown, e, method)
    list[#list + 1] = { owner = owner, name = name, shown = shown, args = e.args, method = method }
  end
  local function path(e)
    local owner, name = e.path:match("^(.*)%.([^.]+)$")
    add(owner, name, e.path, e, false)
  end
  for _, e in ipairs(spec.verdicts) do path(e) end
  for _, e in ipairs(spec.matchers) do path(e) end
  for _, e in ipairs(spec.actions) do path(e) end
  for _, e in ipairs(spec.functions) do
    if not e.value and not e.checks_itself and not e.only_tests and not e.in_lua then path(e) end
  end
  for _, o in ipairs(spec.objects) do
    for _, m in ipairs(o.methods) do
      if not o.plain and not o.in_lua then
        local shown = o.name:gsub("^gw%.", ""):gsub(".*[. ]", "") .. ":" .. m.short
        if o.view or not o.metatable then
          add(o.name, m.short, shown, m, true)
        end
        if o.metatable then
          add(o.metatable, m.short, shown, m, true)
        end
      end
    end
  end
  table.sort(list, function(a, b)
    return a.owner < b.owner or (a.owner == b.owner and a.name < b.name)
  end)
  return list
end

local function table_c(spec)
  local out, cache = {}, {}
  local function p(...) out[#out + 1] = string.format(...) end
  p [[
/* Made by scripts/api/main.lua from api/; see doc/tour.md. */
#include "config.h"

#include "policy/api.h"
]]
  local fields, nfields = {}, 0
  local function field_list(list)
    local names = {}
    for _, f in ipairs(list) do
      names[#names + 1] = quote(f.name)
    end
    local text = table.concat(names, ", ")
    if cache[text] == nil then
      nfields = nfields + 1
      cache[text] = "f" .. nfields
      fields[#fields + 1] = string.format("static const char *const f%d[] = { %s, NULL };", nfields, text)
    end
    return cache[text]
  end
  local args, nargs = {}, 0
  local list = callables(spec)
  for _, c in ipairs(list) do
    local rows = {}
    for _, a in ipairs(c.args) do
      local words = {}
      local mask = mask_of(spec, a.type, words)
      if a.optional then
        mask = mask | BITS["nil"] | BITS.none
      elseif a.name == "..." then
        mask = mask | BITS.none
      end
      rows[#rows + 1] = string.format("{ 0x%X, %s, %s }", mask, quote(#words == 0 and "value" or table.concat(words, " or ")),
        a.fields and field_list(a.fields) or "NULL")
    end
    local text = table.concat(rows, ", ")
    if text ~= "" and cache[text] == nil then
      nargs = nargs + 1
      cache[text] = "a" .. nargs
      args[#args + 1] = string.format("static const struct api_arg a%d[] = { %s };", nargs, text)
    end
    c.c_args = text == "" and "NULL" or cache[text]
    c.c_rest = #c.args > 0 and c.args[#c.args].name == "..."
  end
  p("%s\n", table.concat(fields, "\n"))
  p("%s\n", table.concat(args, "\n"))
  p "#define T(i) static int t##i(lua_State *L) { return policy_api_call(L, i); }"
  local line = {}
  for i = 1, #list do
    line[#line + 1] = string.format("T(%d)", i - 1)
    if #line == 12 or i == #list then
      p("%s", table.concat(line, " "))
      line = {}
    end
  end
  p "\nconst struct api_fn policy_api[] = {"
  for i, c in ipairs(list) do
    p("\t{ %s, %s, %s, %s, %d, %s, %s, t%d },", quote(c.owner), quote(c.name), quote(c.shown), c.c_args, #c.args,
      c.c_rest and "true" or "false", c.method and "true" or "false", i - 1)
  end
  p "};"
  p("const size_t policy_api_count = %d;", #list)
  p("lua_CFunction policy_api_real[%d];", #list)

  p "\nconst char *const policy_api_hook_args[HOOKS][5] = {"
  for _, h in ipairs(spec.hooks) do
    local owners = {}
    for _, a in ipairs(h.args) do
      local owner = ""
      for _, o in ipairs(spec.objects) do
        if o.class == a.type and not o.open then owner = o.metatable or o.name end
      end
      owners[#owners + 1] = quote(owner)
    end
    p("\t[HOOK_%s] = { %s },", h.name:upper(), table.concat(owners, ", "))
  end
  p "\t[HOOK_EVERY] = { \"tick\" },"
  p "};"

  p "\n/* What there is, for the test that compares it with a living state: fields and methods of objects, names in gw. */"
  p "const char *const policy_api_names[] = {"
  local names = {}
  for _, v in ipairs { spec.verdicts, spec.matchers, spec.actions, spec.functions } do
    for _, e in ipairs(v) do
      if not e.only_tests then names[#names + 1] = e.path end
    end
  end
  names[#names + 1] = "gw.match.not"
  for _, v in ipairs(spec.verdict_acts) do names[#names + 1] = "gw.action." .. v end
  for _, o in ipairs(spec.objects) do
    if not o.plain and not o.in_lua then
      local owners = { o.metatable or o.name }
      if o.view then owners[2] = o.name end
      for _, owner in ipairs(owners) do
        for _, f in ipairs(o.fields) do names[#names + 1] = owner .. ":" .. f.name end
        for _, m in ipairs(o.methods) do names[#names + 1] = owner .. ":" .. m.short end
      end
    end
  end
  for k, v in pairs(spec.globals) do
    if type(k) == "number" then
      names[#names + 1] = "_G." .. v
    else
      names[#names + 1] = "_G." .. k
      for _, n in ipairs(v) do names[#names + 1] = k .. "." .. n end
    end
  end
  table.sort(names)
  for i, n in ipairs(names) do
    if n ~= names[i - 1] then p("\t%s,", quote(n)) end
  end
  p "\tNULL\n};"
  return table.concat(out, "\n") .. "\n"
end

local function help_c(spec)
  local out = { [[
/* Made by scripts/api/main.lua from api/; see doc/tour.md. */
#include "config.h"

#include "policy/api.h"

const struct api_text policy_api_texts[] = {]] }
  local list = text_of(spec)
  table.sort(list, function(a, b) return a.name < b.name end)
  for _, e in ipairs(list) do
    out[#out + 1] = string.format("\t{ %s,\n\t%s },", quote(e.name), quote(e.text))
  end
  out[#out + 1] = "};\nconst size_t policy_api_text_count = " .. #list .. ";\n"
  return table.concat(out, "\n")
end

return function(spec, write)
  write("src/policy/api_table.c", table_c(spec))
  write("src/policy/api_help.c", help_c(spec))
end
