---@meta

---@class options.spoof_own_domain
---@field domains? string[] Our domains. Empty: those that the configuration calls local.
---@field envelope? "reject"|"tag"|"off" When MAIL FROM is ours.
---@field except? string[] Clients that may: a service that writes in our name.
---@field header? "reject"|"tag"|"off" When the From field is ours. Mailing lists send our own people's mail back to us: `tag` then.
---@field tag? string The tag of mail that is let in all the same.
