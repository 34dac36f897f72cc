---@meta

---@class options.sts_strict
---@field domains? string[] The sectors that are to be taken at their word.
---@field level? "verify"|"secure" What mail to them owes.
---@field ttl? string|number How long an answer is kept.
