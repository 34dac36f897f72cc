---@meta

---@class options.bounce_to_helpdesk
---@field level? "encrypt"|"verify"|"secure"|"requiretls" Mail that owes at least this counts, too.
---@field mailbox? string The helpdesk's address. Without it nothing is done.
---@field prefix? string The start of the names of the header fields for the ticket system.
---@field tags? string[] Mail with one of these tags counts.
