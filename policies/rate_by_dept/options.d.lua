---@meta

---@class options.rate_by_dept
---@field messages? table<string, string> Department to messages in a time: `{ sales = "500/1h" }`.
---@field recipients? table<string, string> The same for recipients.
---@field senders? table<string, string> Sender (in the forms of `sender`) to department; the closest counts.
---@field table? string A data table with a column `dept`, asked for the sender's address first. Empty: none.
---@field text? string What the client is told.
