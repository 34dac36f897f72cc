---@meta

---@class options.redact_bounces
---@field contact? string Whom to ask: an address or a telephone number in the text. Empty: nobody.
---@field hosts? string[] Host names that are hidden: `*.corp.acme.example`. Empty: all but our own name.
---@field redact? ("diagnostic_text"|"internal_hosts"|"recipient_list"|"received"|"subject")[] What is taken out.
---@field texts? table<string, string> The text of a failure, by language, as for `gw.template`. `en` is the default.
