---@meta

---@class options.four_eyes
---@field domains? string[] Recipients' domains: competitors, press.
---@field except? string[] Senders who may write alone: the press office.
---@field tag? string The tag that such mail gets.
