---@meta

---@class options.maintenance_freeze
---@field freezes? { domains: string[], from: string, name: string, to: string }[] Who, from when, until when, in UTC.
