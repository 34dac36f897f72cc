-- The texts of gw.help: { name, text }
local function signature(e, shown)
  local names = {}
  if e.kind == "verdict" then
    return shown .. " { ... }"
  end
  for _, a in ipairs(e.args) do
    names[#names + 1] = a.optional and "[" .. a.name .. "]" or a.name
  end
  return shown .. "(" .. table.concat(names, ", ") .. ")"
end

local function plain(s)
  return (s:gsub("`", ""))
end

local function add_args(out, list, indent)
  for _, a in ipairs(list) do
    out[#out + 1] = string.format("%s%s%s: %s%s", indent, a.name, a.optional and " (may be missing)" or "", a.type,
      a.text ~= "" and ". " .. plain(a.text) or "")
    if a.fields then
      add_args(out, a.fields, indent .. "  ")
    end
  end
end

local function header(out, e)
  out[#out + 1] = string.format("Contexts: %s. Yields: %s. Errors: %s. Since %s.", plain(e.contexts),
    e.yields == true and "yes" or e.yields or "no", plain(e.errors), e.since)
end

local function callable(e, shown)
  local out = { signature(e, shown), plain(e.text) }
  if e.more ~= "" then out[#out + 1] = plain(e.more) end
  if e.kind == "verdict" then
    add_args(out, e.fields, "  ")
  else
    add_args(out, e.args, "  ")
  end
  for _, r in ipairs(e.returns or {}) do
    out[#out + 1] = string.format("  -> %s: %s%s", r.name, r.type, r.text ~= "" and ". " .. plain(r.text) or "")
  end
  header(out, e)
  return table.concat(out, "\n")
end

return function(spec)
  local list = {}
  local function add(name, text)
    list[#list + 1] = { name = name, text = text }
  end
  for _, v in ipairs { spec.verdicts, spec.matchers, spec.actions, spec.functions } do
    for _, e in ipairs(v) do
      if e.value then
        add(e.path, e.path .. ": " .. e.value .. "\n" .. plain(e.text))
      else
        add(e.path, callable(e, e.path))
      end
    end
  end
  for _, h in ipairs(spec.hooks) do
    local names, verdicts = {}, {}
    for _, a in ipairs(h.args) do names[#names + 1] = a.name end
    for _, v in ipairs(h.c.verdicts) do verdicts[#verdicts + 1] = "gw." .. v end
    local out = { string.format('gw.on("%s", function(%s) ... end, { name = ... })', h.name, table.concat(names, ", ")), plain(h.text) }
    if h.more ~= "" then out[#out + 1] = plain(h.more) end
    out[#out + 1] = "Verdicts: " .. (#verdicts == 0 and "none" or table.concat(verdicts, ", ")) .. "."
    if h.on_nil ~= "" then out[#out + 1] = "nil: " .. plain(h.on_nil) .. "." end
    out[#out + 1] = "On failure: " .. plain(h.failure) .. "."
    add("hook " .. h.name, table.concat(out, "\n"))
  end
  for _, o in ipairs(spec.objects) do
    local out = { o.name, plain(o.text) }
    local dot = o.name:gsub(".*[. ]", "")
    if o.more ~= "" then out[#out + 1] = plain(o.more) end
    for _, f in ipairs(o.fields) do
      out[#out + 1] = string.format("  .%s: %s%s%s", f.name, f.type, f.write and ", may be written" or "",
        f.text ~= "" and ". " .. plain(f.text) or "")
      if not o.plain then
        add(o.name .. "." .. f.name, string.format("%s.%s: %s%s%s", o.name, f.name, f.type, f.write and ", may be written" or "",
          f.text ~= "" and "\n" .. plain(f.text) or ""))
      end
    end
    for _, m in ipairs(o.methods) do
      out[#out + 1] = "  " .. signature(m, ":" .. m.short) .. "  " .. plain(m.text)
      add(o.name .. ":" .. m.short, callable(m, dot .. ":" .. m.short))
    end
    add("object " .. o.name, table.concat(out, "\n"))
  end
  return list
end
