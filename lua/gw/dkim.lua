-- gw.dkim: signatures of messages (RFC 6376): what a server that is trusted says about them, and what
-- the gateway finds out itself. Signing is message:dkim_sign.
local _, core = ...
local M = {}

-- What the servers of policy.auth_servers say about each signature.
function M.results(message)
  local out = {}
  for _, one in ipairs(message.auth_results) do
    if one.method == "dkim" then
      local p = one.props
      out[#out + 1] = { result = one.result, reason = one.reason, server = one.server,
        domain = p["header.d"] or (p["header.i"] or ""):match("@(.*)$"), selector = p["header.s"],
        identity = p["header.i"], algorithm = p["header.a"] }
    end
  end
  return out
end

-- Asks the DNS for the keys and looks at the signatures.
M.verify = core.dkim_verify

return M
