-- doc/reference/*.md, and the list of these files for make.
local read = require "read"

local function cell(s)
  return (s:gsub("|", "\\|"):gsub("\n", " "))
end
local function slug(s)
  return (s:gsub("^gw%.", ""):gsub("[. ]", "-"))
end
local function file_of(o)
  return "object-" .. slug(o.name) .. ".md"
end
local function code(list, before)
  local out = {}
  for _, w in ipairs(list) do out[#out + 1] = "`" .. (before or "") .. w .. "`" end
  return table.concat(out, " ")
end

return function(spec, write, root)
  local files = {}
  local function page(name, title, out)
    files[#files + 1] = { name = name, title = title }
    write("doc/reference/" .. name, "<!-- made by scripts/api/main.lua from api/: change it there -->\n# " .. title .. "\n\n" ..
      table.concat(out, "\n"):gsub("\n\n\n+", "\n\n") .. "\n")
  end

  -- Types lead to the pages of objects.
  local function type_(t)
    local links = {}
    for name in t:gmatch("gw%.%u%w*") do
      for _, o in ipairs(spec.objects) do
        if o.class == name and not o.opaque then
          links[#links + 1] = string.format("[%s](%s)", o.name, file_of(o))
        end
      end
    end
    return "`" .. cell(t) .. "`" .. (#links > 0 and " (" .. table.concat(links, ", ") .. ")" or "")
  end
  local function example(out, e)
    if e == nil then return end
    out[#out + 1] = ""
    if e.is_test then
      out[#out + 1] = "```text\n" .. e.text .. "\n```"
    elseif e.hook then
      out[#out + 1] = "```lua fragment " .. e.hook .. "\n" .. e.text .. "\n```"
    else
      out[#out + 1] = "```lua policy\n" .. e.text .. "\n```"
    end
  end
  local function header(out, e)
    out[#out + 1] = string.format("- contexts: %s\n- yields: %s\n- errors: %s\n- since: %s\n", e.contexts,
      e.yields == true and "yes" or e.yields or "no", e.errors, e.since)
  end
  local function table_of(out, list, head)
    if #list == 0 then return end
    out[#out + 1] = "| " .. head .. " | Type | |\n| --- | --- | --- |"
    for _, a in ipairs(list) do
      out[#out + 1] = string.format("| `%s`%s | %s | %s |", a.name, a.optional and ", may be missing" or "", type_(a.type), cell(a.text))
      for _, f in ipairs(a.fields or {}) do
        out[#out + 1] = string.format("| `%s.%s`%s | %s | %s |", a.name, f.name, f.optional and ", may be missing" or "", type_(f.type),
          cell(f.text))
      end
    end
    out[#out + 1] = ""
  end
  local function callable(out, e, shown, level)
    local names = {}
    for _, a in ipairs(e.args) do names[#names + 1] = a.name .. (a.optional and "?" or "") end
    out[#out + 1] = string.format("%s `%s`\n", level, e.kind == "verdict" and shown .. "{ ... }" or e.value and shown or
      shown .. "(" .. table.concat(names, ", ") .. ")")
    out[#out + 1] = e.text .. (e.more ~= "" and " " .. e.more or "") .. "\n"
    header(out, e)
    if e.kind == "verdict" then
      table_of(out, e.fields, "Field")
    else
      table_of(out, e.args, "Argument")
    end
    table_of(out, e.returns or {}, "Returns")
    example(out, e.example)
    out[#out + 1] = ""
  end

  -- one page a hook
  for _, h in ipairs(spec.hooks) do
    local out, names = { h.text .. (h.more ~= "" and " " .. h.more or "") .. "\n" }, {}
    for _, a in ipairs(h.args) do names[#names + 1] = a.name end
    out[#out + 1] = string.format('```text\ngw.on("%s", function(%s) ... end, { name = "..." })\n```\n', h.name, table.concat(names, ", "))
    header(out, { contexts = "`gw.on`" .. ((h.name == "init" or h.name == "fini") and "" or ", `at` of `gw.rule`"),
      yields = h.name == "disconnect" and "no: a handler that waits is ended" or "its handlers may wait",
      errors = "see On failure", since = h.since })
    table_of(out, h.args, "Argument")
    out[#out + 1] = "| | |\n| --- | --- |"
    out[#out + 1] = "| Verdicts | " .. (#h.c.verdicts == 0 and "none" or code(h.c.verdicts, "gw.")) .. " |"
    if h.on_nil ~= "" then out[#out + 1] = "| nil | " .. cell(h.on_nil) .. " |" end
    out[#out + 1] = "| On failure | " .. cell(h.failure) .. " |"
    local ms, as = {}, {}
    for _, m in ipairs(spec.matchers) do
      for _, at in ipairs(spec.c_matchers[m.name] or {}) do
        if at == h.name then ms[#ms + 1] = m.name end
      end
    end
    for _, a in ipairs(spec.actions) do
      for _, at in ipairs(spec.c_actions[a.name] or {}) do
        if at == h.name then as[#as + 1] = a.name end
      end
    end
    out[#out + 1] = "| Matchers | " .. code(ms) .. " |"
    out[#out + 1] = "| Actions | " .. code(as) .. " |"
    example(out, h.example)
    local given = {}
    for _, a in ipairs(h.args) do
      given[#given + 1] = a.type:find("^gw%.") and a.type ~= "gw.Domain" and a.name .. " = { ... }" or a.name .. ' = "..."'
    end
    if h.name ~= "log" and h.name ~= "init" and h.name ~= "fini" and h.name ~= "bounce_in" and h.name ~= "unmet" then
      out[#out + 1] = string.format('\nIn a test ([env:call](object-test-env.md)):\n\n```text\nlocal verdict, effects = env:call("%s", { %s })' ..
        '\ngw.test.eq(verdict and verdict.kind, %s)\n```', h.name, table.concat(given, ", "), h.example.text:match("return gw%.([%l_]+)") and
        '"' .. h.example.text:match("return gw%.([%l_]+)") .. '"' or "nil")
    elseif h.name == "unmet" then
      out[#out + 1] = '\nIn a test:\n\n```text\nenv:run_queue()\ngw.test.trace(env, { hook = "unmet", verdict = "reroute" })\n```'
    end
    page("hook-" .. h.name .. ".md", "Hook " .. h.name, out)
  end

  -- one page an object
  for _, o in ipairs(spec.objects) do
    if not o.opaque then
      local out = { o.text .. (o.more ~= "" and " " .. o.more or "") .. "\n" }
      if #o.fields > 0 then
        out[#out + 1] = "| Field | Type | |\n| --- | --- | --- |"
        for _, f in ipairs(o.fields) do
          out[#out + 1] = string.format("| `%s`%s | %s | %s |", f.name, f.write and ", may be written" or "", type_(f.type),
            cell(f.text))
        end
        out[#out + 1] = ""
      end
      example(out, o.example)
      out[#out + 1] = ""
      local dot = o.name:gsub("^gw%.", ""):gsub(".*[. ]", "")
      for _, m in ipairs(o.methods) do
        callable(out, m, dot .. ":" .. m.short, "##")
      end
      page(file_of(o), "Object " .. o.name, out)
    end
  end

  -- verdicts, matchers, actions, functions
  local function group(name, title, intro, list)
    local out = { intro .. "\n" }
    for _, e in ipairs(list) do
      callable(out, e, e.path, "##")
      if e.kind == "verdict" or e.kind == "matcher" or e.kind == "action" then
        local at = spec.c_matchers[e.kind == "matcher" and e.name or ""] or spec.c_actions[e.kind == "action" and e.name or ""]
        if e.kind == "verdict" then
          at = {}
          for _, h in ipairs(spec.hooks) do
            at[#at + 1] = h.c.takes[e.name] and h.name or nil
          end
        end
        out[#out + 1] = "Hooks: " .. code(at or {}) .. "\n"
      end
    end
    page(name, title, out)
  end
  group("verdicts.md", "Verdicts", "What a handler may return. Each is made by a function that takes one table and checks every field.", spec.verdicts)
  group("matchers.md", "Matchers", "Conditions for `when`. Where a matcher takes texts, it takes one, several, a list, or a `gw.set`.", spec.matchers)
  group("actions.md", "Actions", "What `act` of a rule does. Verdicts may stand there as well: " .. code(spec.verdict_acts) .. ".", spec.actions)
  local titles = { registration = "Registration", values = "Values, the clock, JSON", log = "The log", waiting = "Waiting",
    dns = "DNS", store = "Values that workers share", sts = "MTA-STS", data = "Tables, databases, limits, caches", library = "The shipped library", test = "Tests" }
  local groups, order = {}, {}
  for _, f in ipairs(spec.functions) do
    if groups[f.group] == nil then
      groups[f.group] = {}
      order[#order + 1] = f.group
    end
    table.insert(groups[f.group], f)
  end
  for _, g in ipairs(order) do
    group("functions-" .. g .. ".md", "Functions: " .. (titles[g] or g), "", groups[g])
  end

  -- from the tables in C
  local out = { [[
A handler fails when it raises an error, goes past a limit, or returns what the hook does not take. There is no setting that takes or
sends mail because a policy failed. This table is made from the one in the program.
]], "| Hook | What the program does | For the mail |\n| --- | --- | --- |" }
  for _, h in ipairs(spec.hooks) do
    local what = h.c.outcome == "none" and "goes on as without this handler" or
      string.format("%s, %d %s", h.c.outcome == "drop" and "closes the connection" or h.c.outcome == "defer" and "defers" or h.c.outcome,
        h.c.code, h.c.status)
    if h.name == "init" then what = "refuses the generation" end
    out[#out + 1] = string.format("| [%s](hook-%s.md) | %s | %s |", h.name, h.name, what, cell(h.failure))
  end
  out[#out + 1] = [[

- The client sees `451 4.3.0 Local policy error [7F3K]`. The reference in brackets is in the log, in a line `policy failed` with hook,
  handler, file and line, the error, generation, session and message.
- `observe` and `advisory` handlers change nothing by failing. It is logged.
- What was already in the queue stays there. Duties that were added stay.
- `pcall` catches errors, and no limits.
- A mandatory rule whose matcher cannot be answered fails like a handler: it is not skipped.
]]
  page("failure.md", "What happens when policy fails", out)

  out = { [[
These hold whatever a policy says: the check is in the program, not in Lua. The tables are made from those in the program. What else holds
is in [policy.md](../policy.md#what-policy-can-never-do).

## Verdicts only where they belong

A verdict at another hook is a failure of the handler, and `sallyport policy check` finds it beforehand.

| Verdict | Only at |
| --- | --- |]] }
  for _, v in ipairs(spec.verdicts) do
    local at = {}
    for _, h in ipairs(spec.hooks) do
      at[#at + 1] = h.c.takes[v.name] and h.name or nil
    end
    out[#out + 1] = string.format("| `gw.%s` | %s |", v.name, code(at))
  end
  local silent, no_accept = {}, {}
  for _, h in ipairs(spec.hooks) do
    if #h.c.verdicts == 0 then silent[#silent + 1] = h.name end
    if not h.c.takes.accept then no_accept[#no_accept + 1] = h.name end
  end
  out[#out + 1] = "\nNothing can be decided at " .. code(silent) .. ": they come after the fact.\n"
  out[#out + 1] = "Nothing can be taken that the gateway would refuse at " .. code(no_accept) .. ".\n"
  out[#out + 1] = "\n## A failure is never an \"accept\"\n"
  local kinds = {}
  for _, h in ipairs(spec.hooks) do
    kinds[h.c.outcome] = kinds[h.c.outcome] or {}
    table.insert(kinds[h.c.outcome], h.name)
    if h.c.outcome == "accept" or h.c.outcome == "route" or h.c.outcome == "relax" then
      error("a failure at " .. h.name .. " would be " .. h.c.outcome, 0)
    end
  end
  for _, k in ipairs { "drop", "defer", "none" } do
    out[#out + 1] = string.format("- %s: %s", k == "none" and "as without the handler, for the built-in check follows" or k == "drop" and
      "the connection is closed" or "a temporary error", code(kinds[k] or {}))
  end
  out[#out + 1] = "\n## A message changes only while it is received\n\n| Action | Only at |\n| --- | --- |"
  for _, a in ipairs(spec.actions) do
    out[#out + 1] = string.format("| `%s` | %s |", a.name, code(spec.c_actions[a.name] or {}))
  end
  out[#out + 1] = [[

## Duties only grow

There is no function that takes a duty away. `require_tls` of messages, recipients and hops adds; the database refuses a smaller set; the
check before MAIL is made on the live connection, after the last hook. `gw.relax` is the one exception, at `unmet` alone, and needs a grant
of the configuration. There is none unless you write it.

## A message on its way, and the hooks

```text]]
  out[#out + 1] = read.file(root .. "/api/life.txt"):gsub("\n$", "")
  out[#out + 1] = "```"
  page("never.md", "What policy can never do", out)

  out = { "Made from the specification in `api/`. The tables in [policy.md](../policy.md) say the same with more words around them.\n" }
  local function list(title, pattern)
    out[#out + 1] = "## " .. title .. "\n"
    for _, f in ipairs(files) do
      if f.name:find(pattern) then
        out[#out + 1] = string.format("- [%s](%s)", f.title, f.name)
      end
    end
    out[#out + 1] = ""
  end
  list("Hooks", "^hook%-")
  list("Rules and handlers", "^%l+s%.md$")
  list("Functions", "^functions%-")
  list("Objects", "^object%-")
  list("What holds", "^[nf][ea]%l+%.md$")
  page("README.md", "Reference of the policy API", out)

  local mk = { "# made by scripts/api/main.lua", "referencedir = $(docdir)/reference", "dist_reference_DATA = \\" }
  for i, f in ipairs(files) do
    mk[#mk + 1] = "\tdoc/reference/" .. f.name .. (i < #files and " \\" or "")
  end
  write("doc/reference/files.mk", table.concat(mk, "\n") .. "\n")
end
