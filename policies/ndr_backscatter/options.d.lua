---@meta

---@class options.ndr_backscatter
---@field need? ("spf"|"dkim"|"dmarc")[] One of these must have passed.
---@field trust? string[] Names in Authentication-Results that are believed: your own server that checks SPF, DKIM and DMARC.
---@field unknown? "suppress"|"send" When none of your servers says anything.
