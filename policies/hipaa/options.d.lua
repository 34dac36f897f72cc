---@meta

---@class options.hipaa
---@field domains? string[] Covered entities and business associates.
---@field level? "verify"|"secure"|"requiretls" What mail to them owes.
---@field portal? string A route: where it goes when their server cannot give that. Empty: nowhere.
---@field portal_domains? string[] Of these it is known: always through the portal.
---@field tag? string The tag that such mail gets.
