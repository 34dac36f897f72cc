---@meta

---@class options.first_contact_partner
---@field except? string[] Domains whose servers have no TLS at all.
---@field keep? string|number How long a domain is remembered after it was last seen.
---@field store? string The name in `gw.kv`.
