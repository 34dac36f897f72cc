---@meta

---@class options.partner_tls
---@field expired? "level"|"defer" After `until`: the level alone still counts, or mail waits for a new row.
---@field table? string The data table: columns `domain`, `level`, `names`, `pins`, `until`.
---@field ttl? string|number How long an answer is kept.
---@field warn? string|number How long before `until` a row is logged as running out.
