---@meta

---@class options.residency_routing
---@field regions? table<string, string> Region to route: `{ eu = "egress-eu" }`.
---@field senders? table<string, string> A sender's domain to region; the closest form counts.
---@field table? string A data table with a column `region`, asked for the sender's address first. Empty: none.
---@field unknown? "route"|"defer"|"hold" A sender without region: the configured route, or wait, or held.
