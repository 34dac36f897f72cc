---@meta

---@class options.subject_tag
---@field headers? string[][] A field's name and the values that count; `*` is any text.
---@field keywords? string[] Words or phrases; one that ends in a letter must end a word.
---@field level? "may"|"encrypt"|"verify"|"secure"|"requiretls" What marked mail owes.
---@field roles? ("mx"|"relay"|"reinject")[] Roles of the listeners it applies to.
---@field senders? string[] Who may ask. Empty: everybody.
---@field strip? boolean Takes the keyword out of the subject. Breaks a DKIM signature made before.
---@field tag? string The tag that other policies can look at.
