-- rate_by_dept: each department may send so much, all workers together.
local options = gw.schema.options("rate_by_dept", {
  messages = { type = "map", of = { type = "text", pattern = "%d+/%d+[smhd]", expects = 'a limit such as "100/1h"' }, default = {},
    doc = "Department to messages in a time: `{ sales = \"500/1h\" }`." },
  recipients = { type = "map", of = { type = "text", pattern = "%d+/%d+[smhd]", expects = 'a limit such as "100/1h"' }, default = {},
    doc = "The same for recipients." },
  senders = { type = "map", keys = "address", of = "text", default = {}, doc = "Sender (in the forms of `sender`) to department; the closest counts." },
  table = { type = "text", default = "", doc = "A data table with a column `dept`, asked for the sender's address first. Empty: none." },
  text = { type = "text", default = "Your department has sent much, try later", doc = "What the client is told." },
})

local people = options.table ~= "" and gw.table(options.table) or nil

local function limiters(what, limits)
  local out = {}
  for dept, limit in gw.sorted_pairs(limits) do
    out[dept] = gw.rate { name = ("rate_by_dept.%s.%s"):format(what, dept:lower():gsub("[^a-z0-9]", "_")), limit = limit, scope = "node" }
  end
  return out
end
local messages, recipients = limiters("messages", options.messages), limiters("recipients", options.recipients)

-- "user@x" before "user@" before "@x" before "@*.x".
local function dept_of(from)
  local row = people and people:get(from)
  if row then return row.dept end
  if not from.domain then return nil end
  local senders, domain = options.senders, from.domain.name
  local found = senders[from.text] or senders[from.localpart .. "@"] or senders["@" .. domain] or senders["@." .. domain]
  while not found do
    domain = domain:match("^[^.]*%.(.*)$")
    if not domain then return nil end
    found = senders["@*." .. domain] or senders["@." .. domain]
  end
  return found
end

local function take(limits, message)
  local dept = not message.from.is_null and dept_of(message.from)
  local limiter = dept and limits[dept]
  if not limiter then return end
  local ok, retry_after = limiter:take(dept, 1)
  if not ok then
    return gw.defer { status = "4.7.1", text = options.text, reason = ("limit of %s, again in %s s"):format(dept, tostring(retry_after)) }
  end
end

local here = gw.match.listener_role "relay"

if next(options.messages) ~= nil then
  gw.on("mail", function(session, message)
    return take(messages, message)
  end, { name = "rate_by_dept.mail", when = here })
end

if next(options.recipients) ~= nil then
  gw.on("rcpt", function(session, message, rcpt)
    return take(recipients, message)
  end, { name = "rate_by_dept.rcpt", when = here })
end
