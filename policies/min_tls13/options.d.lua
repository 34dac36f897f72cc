---@meta

---@class options.min_tls13
---@field domains? string[] The sectors it is for.
---@field level? "encrypt"|"verify"|"secure" What mail to them owes, beside the version.
---@field on_unmet? "defer"|"bounce" What becomes of mail that cannot go so.
