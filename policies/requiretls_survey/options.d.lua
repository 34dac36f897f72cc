---@meta

---@class options.requiretls_survey
---@field keep? string|number How long a host is remembered after it was last seen.
---@field store? string The name in `gw.kv`.
