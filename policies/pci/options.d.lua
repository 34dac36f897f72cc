---@meta

---@class options.pci
---@field act? "hold"|"requiretls"|"reject" What becomes of the message.
---@field enough? integer So many card numbers count.
---@field except? string[] Recipients' domains that may get them: the acquirer.
---@field roles? ("mx"|"relay"|"reinject")[] Roles of the listeners it applies to.
---@field scan? integer Octets of text that are looked at.
---@field tag? string The tag that such mail gets.
