---@meta

---@class options.inbound_tls_required
---@field domains? string[] Senders' domains.
---@field roles? string[] Local-parts that may get mail in clear. Empty: none.
---@field text? string What the client is told.
---@field version? "1.2"|"1.3" TLS of at least this version.
