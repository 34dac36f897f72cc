---@meta

---@class options.time_window
---@field bulk_tag? string The tag that bulk mail gets.
---@field classes? { bulk?: boolean, domains?: string[], holidays?: string[], name: string, tags?: string[], windows: { days?: string, from?: string, holidays?: boolean, to?: string }[], zone?: string }[] The first that fits a message counts.
