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

-- All workers share a limit. Its name says what it is: a reload with the same limit goes on counting.
local function limiters(what, limits)
  local out = {}
  for dept, limit in gw.sorted_pairs(limits) do
    local name = ("rate_by_dept.%s.%s"):format(what, (dept:lower():gsub("[^a-z0-9_-]", "_")))
    out[dept] = gw.rate { name = name:sub(1, 63), limit = limit, scope = "node" }
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
  local ok, after = limiter:take(dept)
  if not ok then
    return gw.defer { status = "4.7.1", text = options.text, reason = ("%s has used up its share, more in %d s"):format(dept, math.ceil(after)) }
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
