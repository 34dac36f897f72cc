---@meta

---@class options.tlsno_roles
---@field addresses? string[] Further addresses in full.
---@field localparts? string[] Local-parts, at whatever domain.
