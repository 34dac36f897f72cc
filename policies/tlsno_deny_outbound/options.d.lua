---@meta

---@class options.tlsno_deny_outbound
---@field act? "strip"|"reject" The header is taken out and ignored, or the message is refused.
---@field except? string[] Senders who may use it: those who mend TLS.
---@field text? string What a refused client is told.
