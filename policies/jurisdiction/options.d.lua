---@meta

---@class options.jurisdiction
---@field classes? ({ asns?: integer[], countries?: string[], otherwise?: "portal"|"hold"|"bounce"|"skip", tag: string })[] Each class that a message belongs to counts.
---@field networks? table<string, string> Network to country, where you know better than the database.
---@field portal? string A route, for `otherwise = "portal"`.
