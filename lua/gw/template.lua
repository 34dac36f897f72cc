-- gw.template: texts with places for values. No code and no conditions but "is there something":
--   {{name}}, {{a.b}}          a value, escaped as the format needs it
--   {{#name}} ... {{/name}}    once for each entry of a list, or once when there is something
--   {{^name}} ... {{/name}}    when there is nothing
--   {{! a remark }}
local schema = require "gw.schema"

local DEPTH, OUTPUT = 8, 262144

local spec = schema.table {
  name      = { type = "text", default = "template", max = 64 },
  format    = { type = "text", one_of = { "text", "html", "header" }, default = "text" },
  width     = { type = "integer", default = 76, min = 20, max = 998 },
  default   = { type = "text", default = "en", max = 16 },
  languages = { type = "map", required = true, min = 1, max = 100, of = { type = "text", lines = true, max = 65536 } },
}

-- ---- Reading ----

local function fail(name, text)
  error(("gw.template: %s: %s"):format(name, text), 0)
end

-- A list of texts and { kind =, name =, path =, parts = }.
local function parse(name, text)
  local top = { parts = {} }
  local stack, at = { top }, 1
  while true do
    local from, to, kind, word = text:find("{{%s*([#/^!]?)([^{}]-)%s*}}", at)
    local here = stack[#stack].parts
    here[#here + 1] = text:sub(at, (from or #text + 1) - 1)
    if not from then break end
    at = to + 1
    word = word:match("^%s*(.*)$")
    if kind ~= "!" and not word:find("^[%a_][%w_]*[%w_.]*$") then
      fail(name, ('"{{%s%s}}" is no name'):format(kind, word:sub(1, 40)))
    end
    if kind == "/" then
      if #stack == 1 or stack[#stack].name ~= word then
        fail(name, ('"{{/%s}}" closes nothing'):format(word))
      end
      stack[#stack] = nil
    elseif kind ~= "!" then
      local part = { kind = kind == "" and "value" or kind, name = word, path = {}, parts = {} }
      for step in word:gmatch("[^.]+") do part.path[#part.path + 1] = step end
      here[#here + 1] = part
      if kind ~= "" then
        if #stack > DEPTH then fail(name, "nested too deep") end
        stack[#stack + 1] = part
      end
      -- A line with nothing but a section's mark leaves no empty line behind.
      if kind ~= "" and text:sub(at, at) == "\n" and (from == 1 or text:sub(from - 1, from - 1) == "\n") then
        at = at + 1
      end
    end
    if kind == "/" and text:sub(at, at) == "\n" and (from == 1 or text:sub(from - 1, from - 1) == "\n") then
      at = at + 1
    end
  end
  if #stack > 1 then fail(name, ('"{{#%s}}" is not closed'):format(stack[#stack].name)) end
  if text:gsub("{{%s*[#/^!]?[^{}]-%s*}}", ""):find("{{", 1, true) then
    fail(name, '"{{" without "}}"')
  end
  return top.parts
end

-- ---- Writing ----

local html = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local escape = {}
function escape.html(v) return (v:gsub("[&<>\"']", html):gsub("[%c]", " ")) end
-- In plain text and in header fields a value is one line.
function escape.text(v) return (v:gsub("%c+", " ")) end
escape.header = escape.text

local function find(scopes, path)
  for i = #scopes, 1, -1 do
    local v = scopes[i]
    if path[1] ~= "this" then v = type(v) == "table" and v[path[1]] or nil end
    for k = 2, #path do v = type(v) == "table" and v[path[k]] or nil end
    if v ~= nil then return v end
  end
  return nil
end

local function is_there(v)
  return v ~= nil and v ~= false and v ~= "" and not (type(v) == "table" and next(v) == nil)
end

local function write(out, parts, scopes, o)
  for _, part in ipairs(parts) do
    if type(part) == "string" then
      out[#out + 1] = part
      out.size = out.size + #part
    else
      local v = find(scopes, part.path)
      if part.kind == "value" then
        if v == nil or type(v) == "table" then fail(o.name, ("there is no value for {{%s}}"):format(part.name)) end
        local text = escape[o.format](tostring(v))
        out[#out + 1] = text
        out.size = out.size + #text
      elseif part.kind == "^" then
        if not is_there(v) then write(out, part.parts, scopes, o) end
      elseif type(v) == "table" and #v > 0 then
        for _, one in ipairs(v) do
          scopes[#scopes + 1] = one
          write(out, part.parts, scopes, o)
          scopes[#scopes] = nil
        end
      elseif is_there(v) then
        scopes[#scopes + 1] = v
        write(out, part.parts, scopes, o)
        scopes[#scopes] = nil
      end
    end
    if out.size > OUTPUT then fail(o.name, "the text becomes too long") end
  end
end

local function length(s) return utf8.len(s) or #s end

-- Long lines break at spaces. Lines that begin with a space or ">" are left as they are.
local function wrap(text, width)
  local out = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    if length(line) <= width or line:find("^[%s>]") then
      out[#out + 1] = line
    else
      local now, n = {}, 0
      for word in line:gmatch("%S+") do
        local len = length(word)
        if n > 0 and n + 1 + len > width then
          out[#out + 1] = table.concat(now, " ")
          now, n = {}, 0
        end
        n = n + len + (n > 0 and 1 or 0)
        now[#now + 1] = word
      end
      out[#out + 1] = table.concat(now, " ")
    end
  end
  return table.concat(out, "\n")
end

-- ---- Objects ----

-- "de-AT", then "de", then the default.
local function choose(self, language)
  language = type(language) == "string" and language:lower() or ""
  while language ~= "" do
    if self.languages[language] then return language end
    language = language:match("^(.*)%-[^-]*$") or ""
  end
  return self.default
end

-- gw.template { name =, format =, width =, default =, languages = { en = "...", de = "..." } }
return function(t)
  local o, problems = schema.check(spec, t, "gw.template")
  if not o then error(table.concat(problems, "; "), 2) end
  local state = { name = o.name, format = o.format, default = o.default:lower(), languages = {} }
  for language, text in gw.sorted_pairs(o.languages) do
    state.languages[language:lower()] = parse(o.name .. "." .. language, text)
  end
  if not state.languages[state.default] then
    error(('gw.template: %s: there is no text in the default language "%s"'):format(o.name, o.default), 2)
  end
  local out = {}
  function out.language(_, language) return choose(state, language) end
  -- Returns the text, and the language that it is in.
  function out.render(_, values, language)
    local chosen, lines = choose(state, language), { size = 0 }
    write(lines, state.languages[chosen], { values or {} }, state)
    local text = table.concat(lines)
    if state.format == "text" then text = wrap(text, o.width) end
    if state.format == "header" then text = text:gsub("%s+", " ") end
    return text, chosen
  end
  return setmetatable(out, {
    __index = function(_, key) error(("a template has no field '%s'"):format(tostring(key)), 2) end,
  })
end
