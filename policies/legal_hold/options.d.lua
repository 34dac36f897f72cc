---@meta

---@class options.legal_hold
---@field archive? string Where the copy goes. Without it nothing is done.
---@field custodians? string[] Whose mail: from them and to them.
---@field level? "may"|"encrypt"|"verify"|"secure"|"requiretls" What the copy owes, beside what the message owes.
---@field tag? string The tag that such mail gets.
