-- gw.arc: chains of who handled a message (RFC 8617), as far as others vouch for them. The gateway
-- itself does not verify a chain.
local M = {}

local SETS = 50

-- What the servers of policy.auth_servers say about the chain.
function M.results(message)
  local out = {}
  for _, one in ipairs(message.auth_results) do
    if one.method == "arc" then
      out[#out + 1] = { result = one.result, reason = one.reason, server = one.server,
        oldest_pass = tonumber(one.props["header.oldest-pass"]), remote_ip = one.props["smtp.remote-ip"] }
    end
  end
  return out
end

-- What the fields ARC-Seal claim, oldest first: anybody can write one.
function M.chain(message)
  local out = {}
  for _, value in ipairs(message:headers("ARC-Seal")) do
    local tags = {}
    if #out == SETS then break end
    for name, text in value:sub(1, 4096):gmatch("(%a+)%s*=%s*([^;]*)") do
      if not tags[name] then tags[name] = text:gsub("%s", "") end
    end
    local i = math.tointeger(tonumber(tags.i))
    if i and i >= 1 and i <= SETS then
      out[#out + 1] = { instance = i, result = tags.cv, domain = tags.d, selector = tags.s }
    end
  end
  table.sort(out, function(a, b) return a.instance < b.instance end)
  return out
end

return M
