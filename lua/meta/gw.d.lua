---@meta gw
-- Made by scripts/api/main.lua from api/.
-- Types for editors (lua-language-server). Not code: whoever loads it gets an error.
local guard = true
if guard then
  error("gw.d.lua is for editors; policies have gw already")
end

---How much TLS: none, encrypted, verified, found safely, all four duties.
---@alias gw.Level "may"|"encrypt"|"verify"|"secure"|"requiretls"
---One of the four things that a connection can owe.
---@alias gw.Duty "encrypt"|"authenticate"|"secure_lookup"|"propagate"
---A text such as "30s", "5m", "4h", "2d", or a number of seconds.
---@alias gw.Duration string|number
---One text, a list of them, or a set.
---@alias gw.Words string|string[]|gw.Set|gw.Address|gw.Domain
---Octets, or a text such as "10M" with K, M or G.
---@alias gw.Size integer|string
---How a handler counts in its chain.
---@alias gw.Order "advisory"|"normal"|"mandatory"
---What became of the header TLS-Required.
---@alias gw.NoState "absent"|"honoured"|"ignored"|"overridden"|"malformed"
---What a rule does: an action, or as the last one a verdict.
---@alias gw.Act gw.Action|gw.Verdict
---@alias gw.Hook "connect"|"helo"|"tls"|"auth"|"mail"|"rcpt"|"data"|"header"|"message"|"bounce_in"|"disconnect"|"route"|"tls_policy"|"attempt"|"ehlo"|"unmet"|"result"|"bounce"|"dsn"|"log"|"tlsrpt"|"init"|"fini"

---A table. `#` is the number of its rows.
---@class gw.Table
---@field name string
---@field version integer How often it was read, from 1.
---@field hash string SHA-256 of the file.
local GwTable = {}

---For loops: all rows, as they were when it began.
---@return fun(): table next
function GwTable:each() end

---The rows in which a column has this value.
---@param column string The key, or one in `index`.
---@param value string|number|boolean|gw.Domain|gw.Address
---@return table[] rows
function GwTable:find(column, value) end

---The row with this key, or nil. In a column of type pattern the closest pattern counts.
---@param key string|number|boolean|gw.Domain|gw.Address
---@return table<string, any>? row A copy; asking it for a column that does not exist raises.
---@return gw.Error? error With sqlite.
function GwTable:get(key) end

---A database.
---@class gw.Sql
---@field name string
local GwSql = {}

---All rows.
---@param statement string One that only reads.
---@param ... any What `?1`, `?2` and so on stand for.
---@return table[]? rows
---@return gw.Error? error
function GwSql:query(statement, ...) end

---The first row, or nil.
---@param statement string One that only reads.
---@param ... any What `?1`, `?2` and so on stand for.
---@return table<string, any>? row
---@return gw.Error? error
function GwSql:row(statement, ...) end

---A limit.
---@class gw.Rate
---@field name string
local GwRate = {}

---The key begins anew.
---@param key string|number|boolean|gw.Domain|gw.Address
function GwRate:forget(key) end

---How many could be taken.
---@param key string|number|boolean|gw.Domain|gw.Address
---@return integer n
function GwRate:left(key) end

---Takes n, or nothing.
---@param key string|number|boolean|gw.Domain|gw.Address
---@param n? integer 1
---@return boolean? ok
---@return number? retry_after When not: in how many seconds there would be enough.
function GwRate:take(key, n) end

---A counter. It begins at 0 with a restart.
---@class gw.Counter
---@field name string
---@field value integer
local GwCounter = {}

---Adds n, and returns the sum.
---@param n? integer 1
---@return integer sum
function GwCounter:add(n) end

---A metric. It begins anew with a restart, not with a reload.
---@class gw.Metric
---@field name string With `gw_metric_` in front.
---@field kind "counter"|"gauge"
local GwMetric = {}

---Adds n, and returns the value. A counter only grows.
---@param n? number 1
---@param labels? table A value for each label; the first 64 octets count.
---@return number value
function GwMetric:add(n, labels) end

---Sets a gauge.
---@param value number
---@param labels? table
function GwMetric:set(value, labels) end

---A cache. `#` is the number of its entries.
---@class gw.Cache
---@field name string
local GwCache = {}

---Removes a key.
---@param key string|number|boolean|gw.Domain|gw.Address
---@return boolean was Was it there?
function GwCache:delete(key) end

---The value of a key, or nil.
---@param key string|number|boolean|gw.Domain|gw.Address
---@return any value
function GwCache:get(key) end

---Keeps a value.
---@param key string|number|boolean|gw.Domain|gw.Address
---@param value any What JSON can say, at most 16 KiB.
---@param opts? { ttl?: gw.Duration }
---@return boolean done
function GwCache:set(key, value, opts) end

---The connection of a client.
---@class gw.Session
---@field id string As in the log.
---@field listener gw.Listener Where it came in.
---@field peer gw.Peer The client.
---@field local_addr string? Our side, "192.0.2.1:25".
---@field proto "SMTP"|"ESMTP"
---@field helo string? What the client called itself.
---@field tls gw.SessionTls? nil in clear.
---@field auth gw.SessionAuth? nil: nobody has logged in.
---@field started number Seconds since 1970.
---@field counts gw.Counts
---@field vars gw.Vars|table Values of your own for this connection. May be written.
local Session = {}

---A line in the log, with the ids of session and message.
---@param text string
function Session:note(text) end

---Where a client came in.
---@class gw.Listener
---@field name string As in the configuration.
---@field role "mx"|"relay"|"reinject"
---@field trust "none"|"clients"|"internal" For these roles.
local SessionListener = {}

---A client.
---@class gw.Peer
---@field ip string
---@field port integer
---@field name string? The host name that the DNS gives for the address and that leads back to it. In this version always nil.
---@field name_verified boolean Whether there is one.
local SessionPeer = {}

---Who has logged in.
---@class gw.SessionAuth
---@field id string What `gw.identity` said.
---@field mech "PLAIN"|"EXTERNAL"
---@field attrs table Empty without any. It cannot be changed.
local SessionAuth = {}

---What a client says who it is. Never logged, and wiped after the call.
---@class gw.Cred
---@field mech "PLAIN"|"EXTERNAL"
---@field id string? PLAIN: whose password it is.
---@field authzid string? Whom the client wants to act as.
---@field password string? PLAIN.
local Cred = {}

---What a client has done so far.
---@class gw.Counts
---@field messages integer
---@field recipients integer
---@field errors integer Commands that were refused.
local SessionCounts = {}

---TLS on the way in.
---@class gw.SessionTls
---@field version string "TLSv1.3"
---@field cipher string
---@field sni string? The name that the client asked for.
---@field client gw.ClientCert? The client's certificate.
local SessionTls = {}

---A client's certificate.
---@class gw.ClientCert
---@field subject string
---@field issuer string
---@field names string[]
---@field fingerprint string SHA-256, in hexadecimal digits.
---@field verified boolean Whether an authority that we trust vouches for it.
local SessionTlsClient = {}

---The argument of `init` and `fini`.
---@class gw.Ctx
---@field reason string "start" or "reload" at `init`; "retired", "discarded" or "stop" at `fini`.
---@field worker integer From 0.
---@field generation string Its digest, as in the log.
local Ctx = {}

---A line in the log, with the ids of session and message.
---@param text string
function Ctx:note(text) end

---The argument of a function of `gw.every`.
---@class gw.Tick
---@field name string Of the timer.
---@field missed integer How many ticks were left out before this one.
---@field worker integer
---@field generation string
local Tick = {}

---A line in the log, with the ids of session and message.
---@param text string
function Tick:note(text) end

---What a server found out about a message (RFC 8601).
---@class gw.AuthResult
---@field server string Who says so, in small letters.
---@field method string "spf", "dkim", "dmarc", "arc", ...
---@field result string "pass", "fail", "none", ...
---@field reason string?
---@field props table `props["smtp.mailfrom"]`, `props["header.d"]`, ...
local AuthResult = {}

---A message.
---@class gw.Message
---@field id string As in the log and in `sallyport queue`.
---@field session gw.Session? nil when the message is not being received.
---@field from gw.Address `message.from.is_null` for notices.
---@field recipients gw.Rcpt[] `#message.recipients`, `message.recipients[1]`.
---@field size integer? Octets; nil before the content is here.
---@field received_at number Seconds since 1970.
---@field direction "inbound"|"outbound"|"internal"
---@field params gw.Params Of MAIL.
---@field smtputf8 boolean
---@field requiretls boolean Whether the sender used REQUIRETLS. In the queue also when a policy asked for that level.
---@field tls_required_no gw.NoState The header TLS-Required. Known from `message` on.
---@field duties gw.Duties What it owes.
---@field tags gw.Set
---@field vars gw.Vars|table Values of your own, kept with the message. May be written.
---@field auth_results gw.AuthResult[] What the servers of `policy.auth_servers` found out: the fields Authentication-Results. Where the header is known.
---@field body_mode "stream"|"inspect"|"stream"|"inspect" At `header`: "inspect" keeps the start of the body for `body_preview`. May be written.
local Message = {}

---Adds a field.
---@param name string
---@param value string
---@param where? "top"|"end"
function Message:add_header(name, value, where) end

---One recipient more, who owes what the message owes.
---@param address string|gw.Address
---@return gw.Rcpt rcpt
function Message:add_recipient(address) end

---Goes over the body, 256 KiB at a time, also where it is not in memory.
---@param max? integer The first so many octets.
---@return fun(): string next
function Message:body_chunks(max) end

---The start of the body, as it came.
---@param n integer At most 262144.
---@return string? text
---@return string? why
function Message:body_preview(n) end

---Signs the message with DKIM when it leaves, with a key that the configuration names.
---@param opts { key: string }
function Message:dkim_sign(opts) end

---Goes over names and values of all fields.
---@return fun(): string, string next
function Message:each_header() end

---Goes over the recipients.
---@return fun(): gw.Rcpt next
function Message:each_recipient() end

---Is there a field of this name?
---@param name string
---@return boolean there
function Message:has_header(name) end

---Has it this tag?
---@param tag string
---@return boolean has
function Message:has_tag(tag) end

---Digest of header and body as received.
---@param algorithm? "sha256"
---@return string? digest
---@return string? why
function Message:hash(algorithm) end

---The n-th field of this name, decoded to UTF-8.
---@param name string
---@param n? integer 1
---@return string? value
function Message:header(name, n) end

---The first address in a field such as From.
---@param name string
---@return gw.Address? address
function Message:header_address(name) end

---The n-th field of this name, as it came.
---@param name string
---@param n? integer 1
---@return string? value
function Message:header_raw(name, n) end

---All fields of this name.
---@param name string
---@return string[] values
function Message:headers(name) end

---`TLS-Required: No` does not count for this message.
---@param opts { reason: string }
function Message:ignore_tls_required_no(opts) end

---A line in the log, with the ids of session and message.
---@param text string
function Message:note(text) end

---Its MIME parts: a list of tables of `type`, `charset`, `disposition`, `filename`, `size`, `level` and `text(max)`.
---@return gw.Part[] parts `parts.truncated`: there is more.
function Message:parts() end

---Removes all fields of this name.
---@param name string
function Message:remove_header(name) end

---One recipient less. Recorded in the evidence.
---@param rcpt gw.Rcpt
function Message:remove_recipient(rcpt) end

---Adds TLS duties. Duties can only be added.
---@param opts { level: gw.Level, reason: string, waivable?: boolean, recipients?: gw.Rcpt[] }
function Message:require_tls(opts) end

---Another sender.
---@param address string|gw.Address Also `"<>"`.
function Message:set_from(address) end

---Replaces all fields of this name.
---@param name string
---@param value string
function Message:set_header(name, value) end

---The first Subject, decoded.
---@return string? subject
function Message:subject() end

---Tags it; kept with the message.
---@param tag string 1 to 64 letters, digits and `. _ : -`.
function Message:tag(tag) end

---The parameters of MAIL.
---@class gw.Params
---@field body "7BIT"|"8BITMIME"
---@field ret "full"|"headers"|nil
---@field envid string?
---@field auth string? AUTH= as it came.
---@field smtputf8 boolean
---@field requiretls boolean
local MessageParams = {}

---A recipient.
---@class gw.Rcpt
---@field address gw.Address
---@field domain gw.Domain? nil for `<postmaster>`.
---@field localpart string
---@field orcpt string? As it came.
---@field notify gw.Set Of "never", "success", "failure", "delay".
---@field relay "local"|"allowed"|"denied"|nil At `rcpt`: what the configuration says.
---@field params gw.RcptParams
---@field tags gw.Set
---@field vars gw.Vars|table Values of your own, kept with the recipient. May be written.
---@field route string? The name of its route, "" for one made by a policy; nil before routing.
---@field duties gw.Duties With those of the message.
---@field state string "new" or "active".
---@field attempts integer At `result`: with this one. 0 elsewhere.
---@field last gw.Result? Not available: nil in this version.
local Rcpt = {}

---Has it this tag?
---@param tag string
---@return boolean has
function Rcpt:has_tag(tag) end

---A line in the log, with the ids of session and message.
---@param text string
function Rcpt:note(text) end

---Adds TLS duties to this recipient.
---@param opts { level: gw.Level, reason: string, waivable?: boolean }
function Rcpt:require_tls(opts) end

---Another address. What it owes stays.
---@param address string|gw.Address
function Rcpt:rewrite(address) end

---Tags the recipient.
---@param tag string
function Rcpt:tag(tag) end

---The parameters of RCPT.
---@class gw.RcptParams
---@field orcpt string?
---@field notify gw.Set
local RcptParams = {}

---Values of your own: `message.vars.ticket = 4711`.
---@class gw.Vars: table<string, any>
local Vars = {}

---A host that mail is about to go to.
---@class gw.Hop
---@field destination gw.Domain The domain that the mail is for; behind fixed hosts that of the recipients, or the host when they differ.
---@field route gw.Route?
---@field host gw.Host
---@field attempt integer 1, 2, ...
---@field mx_secure "dnssec"|"sts"|"asserted"|"no"|"domain" How the host was found.
---@field sts gw.HopSts? nil without a policy.
---@field tlsa gw.HopTlsa
---@field caps gw.Set What the server listed. Empty before `ehlo`.
---@field tls gw.HopTls? nil in clear and before.
---@field duties gw.Duties What is owed here.
---@field met gw.Duties Of these, what is given. Valid at `ehlo` and `unmet`.
---@field unmet gw.Duties Of these, what is not.
---@field relaxed string? The grant in use.
---@field seen table<string, number> What this domain and this host have offered so far, each with the time when it was seen first.
---@field worse table<string, number> Of these, what is gone or less than it was, each with the time when that was found out.
---@field country string? Of the host's address, "DE"; nil when unknown, and without `policy.geo`.
---@field asn integer? The number of the network that the address is in; nil likewise.
local Hop = {}

---A line in the log, with the ids of session and message.
---@param text string
function Hop:note(text) end

---Adds duties for this hop only.
---@param opts { level: gw.Level, reason: string }
function Hop:require_tls(opts) end

---The host of a hop.
---@class gw.Host
---@field name string
---@field ip string? nil before a connection.
---@field port integer
---@field preference integer Of the MX record; behind fixed hosts 0, 1, ...
local HopHost = {}

---The MTA-STS policy of a destination.
---@class gw.HopSts
---@field mode "testing"|"enforce"|"unknown" "unknown": it is announced and could not be fetched.
---@field max_age integer Seconds; 0 when unknown.
---@field match boolean Whether it names this host.
local HopSts = {}

---The TLSA records of a host.
---@class gw.HopTlsa
---@field usable boolean Whether there is a record that DANE for mail can use (RFC 7672).
---@field count integer How many were found; 0 also when none were looked up.
---@field secure boolean Whether they were found and DNSSEC validated them.
local HopTlsa = {}

---TLS on the way out.
---@class gw.HopTls
---@field version string
---@field cipher string
---@field verified "dane"|"pkix"|"pin"|"no"
---@field names string[] In the certificate.
---@field error string? Why it is not verified.
local HopTls = {}

---A route of the configuration or of a policy.
---@class gw.Route
---@field name string As in the configuration; "" for one made by a policy.
---@field via string|string[] "mx" or a list of "host:port".
---@field domain string?
---@field port integer
---@field implicit_tls boolean
---@field auth string? Which of the configuration's `credentials` it logs in with.
---@field tls gw.Level
---@field names string[]
---@field pins string[]
---@field source string?
---@field sticky boolean
---@field assert_secure_lookup boolean
---@field assert_propagate boolean
local Route = {}

---How an attempt ended.
---@class gw.Result
---@field kind "delivered"|"deferred"|"failed"|"expired"|"held"|"rerouted"
---@field code integer The reply's; 0 without one.
---@field status string "5.1.1"
---@field text string? The reply, or our own words.
---@field stage "dns"|"connect"|"tls"|"ehlo"|"auth"|"mail"|"rcpt"|"data"|"policy"
---@field hop gw.Hop? The last host, as it was.
---@field duties gw.Duties
---@field attempts integer With this one.
---@field first_attempt number? Seconds since 1970.
---@field next_attempt number? Changed by `gw.retry` only.
---@field cause string[] Words such as "no-requiretls".
local Result = {}

---A notice that is about to be made. Also the argument of `dsn`.
---@class gw.Bounce
---@field message gw.Message What it is about.
---@field kind "failed"|"delayed"|"delivered"|"relayed"
---@field to gw.Address Whom it goes to.
---@field sender gw.Address The null sender, always.
---@field requiretls boolean As for messages in the queue.
---@field tls_required_no gw.NoState
---@field recipients gw.BounceRcpt[]
---@field original_return "full"|"headers" What the sender asked for.
---@field from_header string? `"Mail Delivery <postmaster@acme.example>"` May be written.
---@field subject string?  May be written.
---@field language string? "en", "de", ... May be written.
---@field template string? The name of a template in `dsn.templates`. May be written.
---@field text string? Instead of the built-in words. May be written.
---@field html string?  May be written.
---@field footer string?  May be written.
---@field return_content "full"|"headers"|"none"|"full"|"headers"|"none" "full" becomes "headers" for REQUIRETLS mail. May be written.
---@field headers string[]|string[] Up to 20 `"Name: value"`. May be written.
---@field redact gw.Set|string[] Of "diagnostic_text", "internal_hosts", "recipient_list", "received", "subject". May be written.
---@field protect "requiretls"|"redact"|nil|"requiretls"|"redact" For REQUIRETLS mail: sent with REQUIRETLS, or without what it tells. nil: as configured. May be written.
---@field copy_to gw.Address|nil|string|gw.Address Who gets a copy. May be written.
local Bounce = {}

---A part of its own, behind those of the report. Not with REQUIRETLS mail.
---@param name string Of a file, without a path; at most 120 octets.
---@param type string `"text/csv"`, without parameters.
---@param data string All of them together: 256 KiB, and 8.
---@return true? attached
---@return string? why Why it is left out.
function Bounce:attach(name, type, data) end

---A line in the log, with the ids of session and message.
---@param text string
function Bounce:note(text) end

---Host names that are hidden: `"*.corp.example"`.
---@param pattern string
function Bounce:redact_host(pattern) end

---Hides what a pattern of Lua finds, in what was said about the recipients and in the fields of the original that come back.
---@param what string|fun(text: string, what: string): string? A pattern; or a function that gets a text and `"diagnostic"` or the field's name, and returns what stands there instead, nil: nothing changes. It may not wait.
function Bounce:redact_text(what) end

---A recipient of a notice.
---@class gw.BounceRcpt
---@field address gw.Address
---@field action string As `bounce.kind`.
---@field status string
---@field diagnostic string? The other server's reply, or our own words.
---@field remote_mta string?
---@field last_attempt number?
local BounceRecipient = {}

---A report that came in. All of it was written by somebody else.
---@class gw.Report
---@field kind "dsn"|"feedback"
---@field recipients gw.ReportRcpt[] Empty for feedback. At most 1000.
---@field reporting_mta string?
---@field envelope_id string? The ENVID of the message that it is about.
---@field arrival_date string? As it was written.
---@field feedback_type string? "abuse" and the like.
---@field user_agent string?
---@field source_ip string? Of a feedback report: whence the message came.
---@field truncated boolean It is longer than what is in memory, or has no end.
local Report = {}

---Any field of the message's group, or of the feedback report.
---@param name string
---@return string? value
function Report:field(name) end

---A line in the log, with the ids of session and message.
---@param text string
function Report:note(text) end

---A header field of the message that it is about, if that was returned.
---@param name string
---@return string? value
function Report:original(name) end

---A recipient in a report.
---@class gw.ReportRcpt
---@field address string? Final-Recipient.
---@field original string? Original-Recipient.
---@field action string? As it was written: "failed", "delayed", ...
---@field status string?
---@field remote_mta string?
---@field diagnostic string?
local ReportRecipient = {}

---Any other field of the recipient's group.
---@param name string
---@return string? value
function ReportRecipient:field(name) end

---An address. Compares with `==`; `tostring` gives the text.
---@class gw.Address
---@field localpart string
---@field domain gw.Domain? nil for the null sender and `<postmaster>`.
---@field is_null boolean
---@field text string
local Address = {}

---A domain in small letters and ASCII form. Compares with `==`; `tostring` gives the name.
---@class gw.Domain
---@field name string
---@field unicode string The form for people.
local Domain = {}

---The configuration says `kind = "local"`.
---@return boolean yes
function Domain:is_local() end

---The opposite.
---@return boolean yes
function Domain:is_remote() end

---What was registered below a public suffix: acme.co.uk for mail.acme.co.uk.
---@return gw.Domain? domain
function Domain:registered() end

---It is that domain or below it.
---@param domain string|gw.Domain
---@return boolean yes
function Domain:under(domain) end

---A set: `#set`, `for x in pairs(set)`. Small and capital letters are the same.
---@class gw.Set
---@operator len: integer
local Set = {}

---Is it in the set?
---@param x string|gw.Address|gw.Domain|nil
---@return boolean yes
function Set:has(x) end

---All of it.
---@return string[] list
function Set:list() end

---A set of domains, made by `gw.domains`.
---@class gw.Domains
local Domains = {}

---Is it in the set?
---@param x string|gw.Address|gw.Domain|nil
---@return boolean yes
function Domains:has(x) end

---What is owed. `tostring` gives "encrypt[sender] authenticate[sender]", with who asked. `#` and `pairs` work.
---@class gw.Duties
---@field level gw.Level The smallest level that holds them all.
local Duties = {}

---Is this duty owed?
---@param name gw.Duty
---@return boolean yes
function Duties:has(name) end

---The names.
---@return gw.Duty[] list
function Duties:list() end

---What a verdict constructor returns. It can be read and not changed.
---@class gw.Verdict
---@field kind string
---@field code integer
---@field status string
---@field text string?
---@field reason string?
---@field where string The line that made it.
local Verdict = {}

---What comes with nil when the world failed. `tostring` gives the text.
---@class gw.Error
---@field kind string One word, as each function lists them.
---@field temporary boolean It may be otherwise in a while.
---@field secure boolean DNSSEC says so.
---@field text string
local Error = {}

---A store of values.
---@class gw.Kv
local GwKv = {}

---Adds a whole number, 1 if there is none, and returns the sum.
---@param key string
---@param n? integer
---@param opts? { ttl?: gw.Duration }
---@return integer? sum
---@return gw.Error? error
function GwKv:add(key, n, opts) end

---Writes `new` if `old` is there.
---@param key string
---@param old any
---@param new any
---@param opts? { ttl?: gw.Duration }
---@return boolean? done
---@return any found When it was not: what is there.
function GwKv:cas(key, old, new, opts) end

---Removes a key.
---@param key string
---@return boolean? was Was it there?
---@return gw.Error? error
function GwKv:delete(key) end

---The value of a key, or nil.
---@param key string
---@return any value
---@return gw.Error? error
function GwKv:get(key) end

---Writes a value.
---@param key string
---@param value any
---@param opts? { ttl?: gw.Duration }
---@return boolean? done
---@return gw.Error? error
function GwKv:set(key, value, opts) end

---A MIME part: see `message:parts()`.
---@class gw.Part
---@field type string "text/plain", in small letters.
---@field charset string?
---@field disposition string? "attachment", "inline"
---@field filename string? UTF-8.
---@field size integer Octets, encoded.
---@field level integer 0 for the message itself.
local Part = {}

---The content, decoded; of `text/...` in UTF-8.
---@param max? integer 65536; up to 262144.
---@return string text
function Part:text(max) end

---What `gw.match` makes.
---@class gw.Matcher
local Matcher = {}

---What `gw.action` makes.
---@class gw.Action
local Action = {}

---An answer of the DNS: a list, and
---@class gw.Answer: { [integer]: any }
---@field secure boolean Validated with DNSSEC.
---@field ttl integer Seconds.
---@field canon string The name at the end of CNAMEs.
local Answer = {}

---Networks, made by `gw.cidr`. `#` is their number.
---@class gw.Cidr
local Cidr = {}

---The value of the longest network.
---@param ip string?
---@return any value
function Cidr:get(ip) end

---Is the address in one of them?
---@param ip string?
---@return boolean yes
function Cidr:has(ip) end

---Made by `gw.calendar`.
---@class gw.Calendar
local Calendar = {}

---A table of `year`, `month`, `day`, `hour`, `min`, `sec`, `wday`, `date`, `offset`, `zone`, `summer`.
---@param t? number Seconds since 1970; now without it.
---@return table date
function Calendar:date(t) end

---Is it a holiday?
---@param t? number Seconds since 1970; now without it.
---@return boolean yes
function Calendar:is_holiday(t) end

---When it closes; nil: it is closed, or never closes.
---@param t? number Seconds since 1970; now without it.
---@return number? t
function Calendar:next_close(t) end

---When the next opens: `t` itself when it is open; nil: not within a year.
---@param t? number Seconds since 1970; now without it.
---@return number? t
function Calendar:next_open(t) end

---Is a window open?
---@param t? number Seconds since 1970; now without it.
---@return boolean yes
function Calendar:open(t) end

---Made by `gw.template`.
---@class gw.Template
local Template = {}

---The text, and the language it is in.
---@param values table
---@param language? string
---@return string? text
---@return string? language
function Template:render(values, language) end

---Made by `gw.auth`.
---@class gw.AuthResults
local Auth = {}

---Does it pass?
---@param message gw.Message
---@param method string
---@return boolean yes
function Auth:passes(message, method) end

---One word: "pass", "fail", ...; nil when nobody says.
---@param message gw.Message
---@param method string
---@return string? result
function Auth:result(message, method) end

---A list of tables of `method`, `result`, `reason`, `props`.
---@param message gw.Message
---@return table results
function Auth:results(message) end

---What `gw.test.env` makes.
---@class gw.TestEnv
---@field dns gw.TestDns
---@field sts gw.TestSts
---@field http gw.TestHttp
---@field sql gw.TestSql
local TestEnv = {}

---Moves the clock.
---@param by gw.Duration
function TestEnv:advance(by) end

---One hook alone.
---@param hook gw.Hook
---@param args? table
---@return table? verdict
---@return table? effects
function TestEnv:call(hook, args) end

---Warnings and errors.
---@return table lines
function TestEnv:log() end

---Notices to senders.
---@return table[] notices
function TestEnv:notices() end

---Seconds since 1970.
---@return number seconds
function TestEnv:now() end

---A next hop.
---@param host string
---@param opts? table
---@return gw.TestPeer peer
function TestEnv:peer(host, opts) end

---Delivers what is due.
function TestEnv:run_queue() end

---A client connects and says EHLO.
---@param opts? table
---@return gw.TestSession session
function TestEnv:session(opts) end

---Every handler call.
---@return table[] calls
function TestEnv:trace() end

---What the DNS says in a test.
---@class gw.TestDns
local TestDns = {}

---IPv4 addresses.
---@param name string
---@param list? table
---@param opts? table `secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`.
function TestDns:a(name, list, opts) end

---IPv6 addresses.
---@param name string
---@param list? table
---@param opts? table `secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`.
function TestDns:aaaa(name, list, opts) end

---Another name.
---@param name string
---@param list? table
---@param opts? table `secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`.
function TestDns:cname(name, list, opts) end

---It cannot be found out.
---@param name string
---@param type string
---@param how "servfail"|"timeout"|"bogus"
function TestDns:fail(name, type, how) end

---MX records.
---@param name string
---@param list? table
---@param opts? table `secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`.
function TestDns:mx(name, list, opts) end

---There is no such name.
---@param name string
---@param opts? table
function TestDns:nxdomain(name, opts) end

---Names of an address.
---@param name string
---@param list? table
---@param opts? table `secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`.
function TestDns:ptr(name, list, opts) end

---TLSA records.
---@param name string
---@param list? table
---@param opts? table `secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`.
function TestDns:tlsa(name, list, opts) end

---Texts.
---@param name string
---@param list? table
---@param opts? table `secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`.
function TestDns:txt(name, list, opts) end

---MTA-STS policies in a test.
---@class gw.TestSts
local TestSts = {}

---It is announced and cannot be fetched.
---@param domain string
---@param why? string
function TestSts:fail(domain, why) end

---What a domain publishes.
---@param domain string
---@param policy table `mode`, `mx`, `max_age`, `id`.
function TestSts:policy(domain, policy) end

---What servers answer to `gw.http` in a test.
---@class gw.TestHttp
local TestHttp = {}

---A server answers.
---@param url string
---@param answer table `method`, `status`, `headers`, `body`, `json`.
function TestHttp:answer(url, answer) end

---It does not.
---@param url string
---@param how? "timeout"|"tls"|"nxdomain"|"servfail"
function TestHttp:fail(url, how) end

---What was asked: `request`, `body`.
---@return table[] requests
function TestHttp:requests() end

---What databases answer to `gw.sql`, and tables of SQLite to `get`, in a test.
---@class gw.TestSql
local TestSql = {}

---Rows, each by column.
---@param database string
---@param statement string
---@param rows table[]
---@param opts? table `values`: only with these for ?1, ?2 ...; `columns`: those that no row has.
function TestSql:answer(database, statement, rows, opts) end

---It cannot be asked.
---@param database string
---@param statement string
---@param how? "servfail"|"timeout"|"malformed"|"limit"
---@param opts? table `values`
function TestSql:fail(database, statement, how, opts) end

---What was asked: `database`, `statement`, `values`.
---@return table[] requests
function TestSql:requests() end

---A next hop of a test.
---@class gw.TestPeer
---@field transcript table[] Transactions: `mail`, `from`, `to`, `data`, `tls`, `complete`.
---@field connections integer
---@field ip string
local TestPeer = {}

---A client of a test.
---@class gw.TestSession
---@field reply table
---@field caps table
---@field closed boolean
local TestSession = {}

---Goes away.
function TestSession:close() end

---Says QUIT.
function TestSession:quit() end

---Says a line.
---@param line string
---@return table reply
function TestSession:say(line) end

---Sends a message.
---@param message table `from`, `to`, `headers`, `body`, `raw`, `requiretls`, `params`.
---@return gw.TestMessage message
function TestSession:send(message) end

---What became of a message of a test.
---@class gw.TestMessage
---@field reply table `code`, `status`, `text`, `stage`.
---@field state string "queued", "held", "refused", "delivered", "failed", "expired", "discarded"
---@field held boolean
---@field queued boolean
---@field duties string[]
---@field tags string[]
---@field vars table
---@field recipients table
---@field records table[] Its evidence.
---@field hold_reason string?
local TestMessage = {}

---A field as it is in the queue.
---@param name string
---@return string? value
function TestMessage:header(name) end

---@class gw.verdict.Accept: gw.Verdict
---@class gw.verdict.Reject: gw.Verdict
---@class gw.verdict.Defer: gw.Verdict
---@class gw.verdict.Drop: gw.Verdict
---@class gw.verdict.Discard: gw.Verdict
---@class gw.verdict.Hold: gw.Verdict
---@class gw.verdict.Bounce: gw.Verdict
---@class gw.verdict.Route: gw.Verdict
---@class gw.verdict.Reroute: gw.Verdict
---@class gw.verdict.Tls: gw.Verdict
---@class gw.verdict.Retry: gw.Verdict
---@class gw.verdict.Fail: gw.Verdict
---@class gw.verdict.SkipHost: gw.Verdict
---@class gw.verdict.Relax: gw.Verdict
---@class gw.verdict.Suppress: gw.Verdict
---@class gw.verdict.Report: gw.Verdict
---@class gw.verdict.Identity: gw.Verdict
---@class gw.verdict.Caps: gw.Verdict

---What a handler of connect returns.
---@alias gw.ConnectVerdict gw.verdict.Reject|gw.verdict.Defer|gw.verdict.Drop
---What a handler of helo returns.
---@alias gw.HeloVerdict gw.verdict.Reject|gw.verdict.Defer|gw.verdict.Drop|gw.verdict.Caps
---What a handler of tls returns.
---@alias gw.TlsVerdict gw.verdict.Reject|gw.verdict.Drop
---What a handler of auth returns.
---@alias gw.AuthVerdict gw.verdict.Identity|gw.verdict.Reject|gw.verdict.Defer
---What a handler of mail returns.
---@alias gw.MailVerdict gw.verdict.Reject|gw.verdict.Defer|gw.verdict.Drop
---What a handler of rcpt returns.
---@alias gw.RcptVerdict gw.verdict.Reject|gw.verdict.Defer|gw.verdict.Discard|gw.verdict.Accept
---What a handler of data returns.
---@alias gw.DataVerdict gw.verdict.Reject|gw.verdict.Defer
---What a handler of header returns.
---@alias gw.HeaderVerdict gw.verdict.Reject|gw.verdict.Defer
---What a handler of message returns.
---@alias gw.MessageVerdict gw.verdict.Reject|gw.verdict.Defer|gw.verdict.Hold|gw.verdict.Discard|gw.verdict.Accept
---What a handler of bounce_in returns.
---@alias gw.BounceInVerdict gw.verdict.Hold|gw.verdict.Discard|gw.verdict.Accept
---What a handler of disconnect returns.
---@alias gw.DisconnectVerdict nil
---What a handler of route returns.
---@alias gw.RouteVerdict gw.verdict.Route|gw.verdict.Bounce|gw.verdict.Hold|gw.verdict.Discard|gw.verdict.Defer
---What a handler of tls_policy returns.
---@alias gw.TlsPolicyVerdict gw.verdict.Tls|gw.verdict.Defer
---What a handler of attempt returns.
---@alias gw.AttemptVerdict gw.verdict.Defer|gw.verdict.Hold|gw.verdict.Bounce|gw.verdict.Reroute|gw.verdict.SkipHost
---What a handler of ehlo returns.
---@alias gw.EhloVerdict gw.verdict.Defer|gw.verdict.Hold|gw.verdict.Bounce|gw.verdict.Reroute|gw.verdict.SkipHost
---What a handler of unmet returns.
---@alias gw.UnmetVerdict gw.verdict.Bounce|gw.verdict.Defer|gw.verdict.Reroute|gw.verdict.SkipHost|gw.verdict.Hold|gw.verdict.Relax
---What a handler of result returns.
---@alias gw.ResultVerdict gw.verdict.Retry|gw.verdict.Fail|gw.verdict.Hold|gw.verdict.Reroute
---What a handler of bounce returns.
---@alias gw.BounceVerdict gw.verdict.Suppress
---What a handler of dsn returns.
---@alias gw.DsnVerdict gw.verdict.Suppress
---What a handler of log returns.
---@alias gw.LogVerdict nil
---What a handler of tlsrpt returns.
---@alias gw.TlsrptVerdict gw.verdict.Suppress|gw.verdict.Report|gw.verdict.Defer
---What a handler of init returns.
---@alias gw.InitVerdict nil
---What a handler of fini returns.
---@alias gw.FiniVerdict nil

---@class gw
gw = {}

---Ends the normal part of the chain. At `rcpt` with `relay` it takes mail that the relay check would refuse.
---@param fields? { reason?: string, relay?: boolean, text?: string }
---@return gw.verdict.Accept
function gw.accept(fields) end

---Permanent error for the client.
---@param fields? { code?: integer, status?: string, text?: string, reason?: string }
---@return gw.verdict.Reject
function gw.reject(fields) end

---Temporary error for the client; in the queue: later.
---@param fields? { code?: integer, status?: string, text?: string, reason?: string, after?: gw.Duration }
---@return gw.verdict.Defer
function gw.defer(fields) end

---421, and the connection is closed.
---@param fields? { text?: string, reason?: string }
---@return gw.verdict.Drop
function gw.drop(fields) end

---The client is told 250, and the mail is thrown away. It is in the evidence.
---@param fields? { reason: string }
---@return gw.verdict.Discard
function gw.discard(fields) end

---Into the queue, on hold, until `sallyport queue release` or for as long as `expires`.
---@param fields? { reason?: string, expires?: gw.Duration, queue?: string }
---@return gw.verdict.Hold
function gw.hold(fields) end

---The recipient fails, with a notice.
---@param fields? { status?: string, text?: string, reason?: string }
---@return gw.verdict.Bounce
function gw.bounce(fields) end

---Where it goes next.
---@param fields? { via: string|string[], domain?: string, port?: integer, implicit_tls?: boolean, source?: string, tls?: gw.Level, names?: string[], pins?: string[], assert_secure_lookup?: boolean, sticky?: boolean, expires?: gw.Duration, auth?: string, reason?: string }
---@return gw.verdict.Route
function gw.route(fields) end

---Replaces the route of a queued message, which goes on owing what it owed.
---@param fields? { via: string|string[], domain?: string, port?: integer, implicit_tls?: boolean, source?: string, tls?: gw.Level, names?: string[], pins?: string[], assert_secure_lookup?: boolean, sticky?: boolean, expires?: gw.Duration, auth?: string, reason?: string }
---@return gw.verdict.Reroute
function gw.reroute(fields) end

---The floor for a destination.
---@param fields? { level: gw.Level, names?: string[], pins?: string[], ca?: string, min_version?: "1.2"|"1.3", ttl?: gw.Duration, on_unmet?: "bounce"|"defer" }
---@return gw.verdict.Tls
function gw.tls(fields) end

---Another try.
---@param fields? { after?: gw.Duration, reason?: string }
---@return gw.verdict.Retry
function gw.retry(fields) end

---No more tries.
---@param fields? { status?: string, text?: string, reason?: string }
---@return gw.verdict.Fail
function gw.fail(fields) end

---The next host.
---@param fields? { reason?: string }
---@return gw.verdict.SkipHost
function gw.skip_host(fields) end

---Sends this once with less, under a grant of the configuration.
---@param fields? { grant: string, reason: string }
---@return gw.verdict.Relax
function gw.relax(fields) end

---No notice, or no report. Logged.
---@param fields? { reason: string }
---@return gw.verdict.Suppress
function gw.suppress(fields) end

---Sends a TLS report to these instead.
---@param fields? { to: string[], reason?: string }
---@return gw.verdict.Report
function gw.report(fields) end

---At `auth`: this is who it is.
---@param fields? { id: string, attrs?: table, reason?: string }
---@return gw.verdict.Identity
function gw.identity(fields) end

---Extensions that are not offered.
---@param fields? { hide: string[] }
---@return gw.verdict.Caps
function gw.caps(fields) end

gw.match = {}

---All of these are true.
---@param ... gw.Matcher|gw.Matcher[]
---@return gw.Matcher matcher
function gw.match.all(...) end

---One of these is true.
---@param ... gw.Matcher|gw.Matcher[]
---@return gw.Matcher matcher
function gw.match.any(...) end

---It is not true. Also `gw.match["not"]`.
---@param matcher gw.Matcher|gw.Matcher[]
---@return gw.Matcher matcher
function gw.match.no(matcher) end

---The mail came in there. The name must exist in the configuration.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.listener(...) end

---The listener has this role: mx, relay, reinject.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.listener_role(...) end

---The client's address is in this network.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.client_ip(...) end

---The client called itself so; `*` any text, `?` one character.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.helo(...) end

---It came over TLS, at least of this version.
---@param version? "1.2"|"1.3"
---@return gw.Matcher matcher
function gw.match.tls_inbound(version) end

---The sender is this. `"user@"` at any domain, `"@x.example"`, `"@.x.example"`, `"<>"` the null sender.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.sender(...) end

---`"x.example"` itself, `"*.x.example"` all below it, `".x.example"` both, `"*"` all.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.sender_domain(...) end

---As `sender`: the recipient of the hook, else any recipient.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.rcpt(...) end

---As `sender_domain`. At `tls_policy` and `tlsrpt`: the domain.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.rcpt_domain(...) end

---A Subject has this word, decoded, in small or capital letters. A word that ends in a letter or digit must end there.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.subject_word(...) end

---A field of this name has this value, with `*` and `?`; without value: there is one.
---@param name string
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.header(name, ...) end

---There is a field of this name.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.has_header(...) end

---The message has this tag.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.tag(...) end

---It is larger than this.
---@param size gw.Size
---@return gw.Matcher matcher
function gw.match.size_over(size) end

---inbound, outbound or internal.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.direction(...) end

---As `message.requiretls`.
---@return gw.Matcher matcher
function gw.match.requiretls() end

---The header TLS-Required is honoured, or in one of these states.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.tls_required_no(...) end

---It is this time of the week. Over midnight is possible.
---@param opts { days?: string, from?: string, to?: string, zone?: "local"|"utc" }
---@return gw.Matcher matcher
function gw.match.time(opts) end

---The function, called with the hook's arguments, returns something true. It may not wait or change anything.
---@param predicate function
---@return gw.Matcher matcher
function gw.match.lua(predicate) end

---The client has logged in, or as one of these, with `*` and `?`.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.auth(...) end

---A part has a file name or is an attachment, or has such a name, with `*` and `?`.
---@param ... gw.Words
---@return gw.Matcher matcher
function gw.match.attachment(...) end

gw.action = {}

---Adds TLS duties: to the message, at `rcpt` to the recipient, at `attempt` and `ehlo` to the hop.
---@param opts { level: gw.Level, reason: string, waivable?: boolean }
---@return gw.Action action
function gw.action.require_tls(opts) end

---Tags the message.
---@param tag string 1 to 64 letters, digits and `. _ : -`.
---@return gw.Action action
function gw.action.tag(tag) end

---Adds a field.
---@param name string
---@param value string
---@param where? "top"|"end"
---@return gw.Action action
function gw.action.add_header(name, value, where) end

---Replaces all fields of this name.
---@param name string
---@param value string
---@return gw.Action action
function gw.action.set_header(name, value) end

---Removes all fields of this name.
---@param name string
---@return gw.Action action
function gw.action.remove_header(name) end

---`TLS-Required: No` does not count for this message.
---@param opts { reason: string }
---@return gw.Action action
function gw.action.ignore_tls_required_no(opts) end

---A line in the log.
---@param text string At most 1000 octets.
---@return gw.Action action
function gw.action.note(text) end

---Says what happens when something matches; carried out without Lua.
---@param rule { name: string, at: gw.Hook, act: gw.Act|gw.Act[], when?: gw.Matcher, level?: gw.Order, priority?: integer }
function gw.rule(rule) end

---@class gw.HandlerOpts
---@field name string Letters a-z, digits, `_`, `-`, with dots between; unique in the generation.
---@field when? gw.Matcher The function is called only if it matches.
---@field level? gw.Order `"normal"`
---@field priority? integer -100 to 100, default 0.
---@field wall? gw.Duration How long one call may take with all its waiting, at most `"60s"`.
---@field observe? boolean It may look, but may not return a verdict or change anything.

---Registers a handler.
---@overload fun(hook: "connect", handler: (fun(session: gw.Session): gw.ConnectVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "helo", handler: (fun(session: gw.Session, name: string): gw.HeloVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "tls", handler: (fun(session: gw.Session): gw.TlsVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "auth", handler: (fun(session: gw.Session, cred: gw.Cred): gw.AuthVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "mail", handler: (fun(session: gw.Session, message: gw.Message): gw.MailVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "rcpt", handler: (fun(session: gw.Session, message: gw.Message, rcpt: gw.Rcpt): gw.RcptVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "data", handler: (fun(session: gw.Session, message: gw.Message): gw.DataVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "header", handler: (fun(session: gw.Session, message: gw.Message): gw.HeaderVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "message", handler: (fun(session: gw.Session, message: gw.Message): gw.MessageVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "bounce_in", handler: (fun(session: gw.Session, message: gw.Message, report: gw.Report): gw.BounceInVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "disconnect", handler: (fun(session: gw.Session)), opts: gw.HandlerOpts)
---@overload fun(hook: "route", handler: (fun(message: gw.Message, rcpt: gw.Rcpt): gw.RouteVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "tls_policy", handler: (fun(domain: gw.Domain, route: gw.Route): gw.TlsPolicyVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "attempt", handler: (fun(message: gw.Message, hop: gw.Hop): gw.AttemptVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "ehlo", handler: (fun(message: gw.Message, hop: gw.Hop): gw.EhloVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "unmet", handler: (fun(message: gw.Message, hop: gw.Hop, unmet: gw.Duties): gw.UnmetVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "result", handler: (fun(message: gw.Message, rcpt: gw.Rcpt, result: gw.Result): gw.ResultVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "bounce", handler: (fun(message: gw.Message, bounce: gw.Bounce): gw.BounceVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "dsn", handler: (fun(message: gw.Message, bounce: gw.Bounce): gw.DsnVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "log", handler: (fun(event: table)), opts: gw.HandlerOpts)
---@overload fun(hook: "tlsrpt", handler: (fun(domain: gw.Domain, day: string): gw.TlsrptVerdict?), opts: gw.HandlerOpts)
---@overload fun(hook: "init", handler: (fun(ctx: gw.Ctx)), opts: gw.HandlerOpts)
---@overload fun(hook: "fini", handler: (fun(ctx: gw.Ctx)), opts: gw.HandlerOpts)
function gw.on(hook, handler, opts) end

---Runs a function again and again.
---@param timer { name: string, interval: gw.Duration, run: fun(tick: gw.Tick), jitter?: gw.Duration, scope?: "worker"|"node", wall?: gw.Duration, level?: gw.Order, observe?: boolean }
function gw.every(timer) end

---Of the gateway.
---@type string
gw.version = nil

---The text of this reference about a name.
---@param name? string Such as "gw.kv", "message.subject", "message:header" or "hook rcpt".
---@return string? text nil when there is nothing of that name.
---@return string? why Then: the nearest name.
function gw.help(name) end

---Seconds since 1970 with fraction; the same until the handler waits.
---@return number seconds
function gw.now() end

---As `math.random`; the same numbers for the same message and handler.
---@param m? integer
---@param n? integer
---@return number number
function gw.random(m, n) end

---A set of texts, addresses and domains. Small and capital letters are the same.
---@param values (string|gw.Address|gw.Domain)[]
---@return gw.Set set
function gw.set(values) end

---A set of domains in the forms of `gw.match.sender_domain`: `"x.example"`, `"*.x.example"`, `".x.example"`.
---@param ... gw.Words
---@return gw.Domains domains
function gw.domains(...) end

---Makes an address of a text.
---@param text string
---@return gw.Address? address nil when it is none.
---@return string? why
function gw.address(text) end

---Makes a domain of a text.
---@param text string
---@return gw.Domain? domain nil when it is none.
---@return string? why
function gw.domain(text) end

---As `pairs`, in the order of the keys, which are texts and numbers.
---@param table table
---@return function next
function gw.sorted_pairs(table) end

gw.json = {}

---A value as JSON.
---@param value any
---@return string text
function gw.json.encode(value) end

---The value of a JSON text.
---@param text string
---@return any value nil when it is not JSON.
---@return string? why
function gw.json.decode(text) end

gw.log = {}

---A line in the log, at level debug.
---@param text any
---@param fields? table Added as JSON.
function gw.log.debug(text, fields) end

---A line in the log, at level info.
---@param text any
---@param fields? table Added as JSON.
function gw.log.info(text, fields) end

---A line in the log, at level warn.
---@param text any
---@param fields? table Added as JSON.
function gw.log.warn(text, fields) end

---A line in the log, at level error.
---@param text any
---@param fields? table Added as JSON.
function gw.log.error(text, fields) end

---Waits, at most 10 seconds.
---@param seconds number
---@return boolean? done true.
---@return gw.Error? error
function gw.sleep(seconds) end

---Calls functions side by side: when one waits, the next begins.
---@param functions function[] At most 100, called without arguments.
---@param opts? { mode?: "fail_fast"|"collect", parallel?: integer }
---@return table? results With `n`: the first results, or with `collect` tables of `value` and `error`.
---@return any error
function gw.all(functions, opts) end

---Calls a function and ends it after a time.
---@param seconds number At most 60.
---@param f function
---@return any result What the function returns, or nil.
---@return any error Of kind timeout when it took too long.
function gw.within(seconds, f) end

---Makes a function of one key that keeps what another returned.
---@param f fun(key: any): any Called with the key.
---@param opts { name: string, ttl?: gw.Duration, negative_ttl?: gw.Duration, capacity?: integer, stale?: gw.Duration }
---@return fun(key: any): any g
function gw.memo(f, opts) end

gw.dns = {}

---The IPv4 addresses of a name.
---@param name string|gw.Domain
---@param opts? { timeout?: gw.Duration }
---@return gw.Answer? answer With `secure`, `ttl` and `canon`; nil when there is none.
---@return gw.Error? error
function gw.dns.a(name, opts) end

---The IPv6 addresses of a name.
---@param name string|gw.Domain
---@param opts? { timeout?: gw.Duration }
---@return gw.Answer? answer With `secure`, `ttl` and `canon`; nil when there is none.
---@return gw.Error? error
function gw.dns.aaaa(name, opts) end

---The mail exchangers of a name: a list of `{ preference =, host = }`.
---@param name string|gw.Domain
---@param opts? { timeout?: gw.Duration }
---@return gw.Answer? answer With `secure`, `ttl` and `canon`; nil when there is none.
---@return gw.Error? error
function gw.dns.mx(name, opts) end

---The texts of a name.
---@param name string|gw.Domain
---@param opts? { timeout?: gw.Duration }
---@return gw.Answer? answer With `secure`, `ttl` and `canon`; nil when there is none.
---@return gw.Error? error
function gw.dns.txt(name, opts) end

---The names of an address, or of a name below in-addr.arpa.
---@param name string|gw.Domain
---@param opts? { timeout?: gw.Duration }
---@return gw.Answer? answer With `secure`, `ttl` and `canon`; nil when there is none.
---@return gw.Error? error
function gw.dns.ptr(name, opts) end

---TLSA records: a list of `{ usage =, selector =, mtype =, data = }`.
---@param name string|gw.Domain
---@param opts? { timeout?: gw.Duration }
---@return gw.Answer? answer With `secure`, `ttl` and `canon`; nil when there is none.
---@return gw.Error? error
function gw.dns.tlsa(name, opts) end

---Adds a row of the policy's own to the evidence: chained to the rows before, on disk when the call returns, never changed.
---@param text string One line, at most 500 octets.
---@param fields? table Values for JSON, at most 1024 octets of it.
---@return true? done
---@return gw.Error? error
function gw.audit(text, fields) end

---What was counted for TLS reports (RFC 8460) about a domain, newest day first. Only read.
---@param domain string|gw.Domain
---@param opts? { days?: integer }
---@return table? days A list of tables of `day`, `domain`, `state`, `successful`, `failed` and `policies`, as the report has them. Read-only.
---@return gw.Error? error
function gw.tlsrpt(domain, opts) end

---A store of values that all workers share; it survives restarts and reloads.
---@param name string 1 to 63 letters a-z, digits, `_`, `-` and dots.
---@return gw.Kv kv
function gw.kv(name) end

gw.sts = {}

---The MTA-STS policy of a domain, found as deliveries do.
---@param domain string|gw.Domain
---@return table? policy `mode`, `id`, `mx`, `max_age`, `fetched`, `expires`; nil when there is none.
---@return gw.Error? error
function gw.sts.get(domain) end

---A data table of the configuration.
---@param name string In `tables`.
---@return gw.Table table
function gw.table(name) end

---A SQLite database of the configuration. It is only read.
---@param name string In `databases`.
---@return gw.Sql sql
function gw.sql(name) end

---A request to a server that the configuration lists, over HTTPS. No redirect is followed.
---@param request { url: string, method?: string, headers?: table<string, string>, body?: string, timeout?: gw.Duration, max?: integer }
---@return table? answer `status`, `headers` (names in small letters), `body`.
---@return gw.Error? error
function gw.http(request) end

---A limit for each key.
---@param opts { name: string, limit: string, scope?: "node"|"worker", kind?: "bucket"|"window", keys?: integer }
---@return gw.Rate rate
function gw.rate(opts) end

---A counter of the node, which is also a metric.
---@param name string
---@return gw.Counter counter
function gw.counter(name) end

---A counter or a gauge of the node with labels, on the page of metrics as `gw_metric_<name>`.
---@param opts { name: string, kind?: "counter"|"gauge", help?: string, labels?: string[], series?: integer }
---@return gw.Metric metric
function gw.metric(opts) end

---Values that a worker keeps; a reload keeps them if name and schema are the same.
---@param opts { name: string, schema?: string|integer, capacity?: integer, ttl?: gw.Duration }
---@return gw.Cache cache
function gw.cache(opts) end

---A set of networks, or a map from networks to values.
---@param networks table `{ "10.0.0.0/8" }`, or `{ ["10.0.0.0/8"] = "office" }`; at most 100,000.
---@return gw.Cidr cidr
function gw.cidr(networks) end

---Country and network of an address, out of the databases that `policy.geo` names.
---@param ip string
---@return table? where `country` ("DE"), `asn`, `organization`; what is not known is nil.
function gw.geo(ip) end

gw.schema = {}

---What the configuration says in `policy.options`, checked, with the defaults filled in.
---@param name string
---@param fields table<string, any> A spec for each: see policy.md.
---@return table options
function gw.schema.options(name, fields) end

---Checks a value.
---@param spec any
---@param value any
---@param where? string
---@return any copy With defaults; nil when it does not fit.
---@return string[]? problems
function gw.schema.check(spec, value, where) end

---The spec of a table that has these fields and no others.
---@param fields table<string, any>
---@return table spec
function gw.schema.table(fields) end

---A duration in seconds.
---@param duration gw.Duration
---@return number? seconds
function gw.schema.seconds(duration) end

---A table of Markdown about a spec.
---@param spec any
---@return string text
function gw.schema.doc(spec) end

---A JSON Schema of a spec.
---@param spec any
---@return table schema
function gw.schema.json_schema(spec) end

---A class for the Lua language server.
---@param name string
---@param spec any
---@return string text
function gw.schema.luals(name, spec) end

---What `sallyport policy options` prints.
---@param declared table<string, any>
---@param as string
---@return string text
function gw.schema.export(declared, as) end

---Windows of time, holidays, time zones.
---@param opts { zone?: string, holidays?: string[], windows: table }
---@return gw.Calendar calendar
function gw.calendar(opts) end

---Texts with places for values.
---@param opts { name?: string, format?: "text"|"html"|"header", width?: integer, default?: string, languages: table<string, string> }
---@return gw.Template template
function gw.template(opts) end

gw.redact = {}

---Is the check digit right?
---@param digits string
---@return boolean yes
function gw.redact.luhn(digits) end

---Of card numbers all digits but the last four become `*`.
---@param text string
---@return string text
function gw.redact.cards(text) end

---How many card numbers there are.
---@param text string
---@param enough? integer It stops counting there.
---@return integer n
function gw.redact.count_cards(text, enough) end

---"ann@x.example" becomes "a***@x.example".
---@param text string
---@return string text
function gw.redact.addresses(text) end

---IP addresses become "[address]".
---@param text string
---@param with? string
---@return string text
function gw.redact.ips(text, with) end

---Names at or below these domains become "[host]".
---@param text string
---@param domains string[]
---@param with? string
---@return string text
function gw.redact.hosts(text, domains, with) end

---Reads what a server of yours found out about SPF, DKIM, DMARC and ARC.
---@param opts { trust: string[] }
---@return gw.AuthResults auth
function gw.auth(opts) end

gw.mime = {}

---A field's value in UTF-8, encoded words (RFC 2047) decoded.
---@param value string At most 65536 octets.
---@return string text
function gw.mime.decode(value) end

---Encoded words for what is not ASCII. Header edits do so by themselves.
---@param text string One line of UTF-8, at most 8000 octets.
---@return string value
function gw.mime.encode(text) end

---The word in front and the parameters of a field such as Content-Type; pieces are put together (RFC 2231).
---@param value string
---@return string? first In small letters.
---@return table? parameters By name in small letters; at most 64.
function gw.mime.parameters(value) end

---All addresses of a field such as To, without the names of groups.
---@param value string As `header_raw` gives it.
---@return table? addresses At most 1000 tables of `text` (as it was written), `address` (a gw.Address; nil when the text is none) and `name`.
function gw.mime.addresses(value) end

gw.dkim = {}

---What the servers of `policy.auth_servers` say about the signatures.
---@param message gw.Message
---@return table results A list of tables of `result`, `reason`, `domain`, `selector`, `identity`, `algorithm`, `server`.
function gw.dkim.results(message) end

---Verifies the first 8 signatures (RFC 6376) with keys from the DNS.
---@param message gw.Message
---@return table? results A list of tables of `result` ("pass", "fail", "neutral", "temperror", "permerror"), `reason`, `domain`, `selector`, `identity`, `bits` of the key, `partial` (there is more body than was signed) and `secure` (DNSSEC).
---@return gw.Error? error
function gw.dkim.verify(message) end

gw.arc = {}

---What the servers of `policy.auth_servers` say about the chain (RFC 8617).
---@param message gw.Message
---@return table results A list of tables of `result`, `reason`, `oldest_pass`, `remote_ip`, `server`.
function gw.arc.results(message) end

---What the fields ARC-Seal claim, oldest first. Nobody has verified it.
---@param message gw.Message
---@return table chain At most 50 tables of `instance`, `result`, `domain`, `selector`.
function gw.arc.chain(message) end

gw.test = {}

---Tests that belong together.
---@param name string
---@param f function
function gw.test.describe(name, f) end

---One test. It has the file to itself: all of the file runs anew for it.
---@param name string
---@param f function
function gw.test.it(name, f) end

---Equal; tables by content.
---@param got any
---@param expected any
function gw.test.eq(got, expected) end

---Not equal.
---@param got any
---@param other any
function gw.test.ne(got, other) end

---Each is an element or key, or part of a text.
---@param got any
---@param list any
function gw.test.has(got, list) end

---None is.
---@param got any
---@param list any
function gw.test.lacks(got, list) end

---The text has this Lua pattern.
---@param text string
---@param pattern string
function gw.test.match(text, pattern) end

---It has not.
---@param text string
---@param pattern string
function gw.test.nomatch(text, pattern) end

---Something true.
---@param value any
function gw.test.ok(value) end

---Fails the test.
---@param text string
function gw.test.fail(text) end

---The function raises, with this pattern in the error.
---@param f function
---@param pattern? string
function gw.test.raises(f, pattern) end

---Some handler did that.
---@param env gw.TestEnv
---@param fields table `hook`, `handler`, `verdict`, `reason`, `status`, `text`, `where`, `level`.
function gw.test.trace(env, fields) end

---No handler did that.
---@param env gw.TestEnv
---@param fields table `hook`, `handler`, `verdict`, `reason`, `status`, `text`, `where`, `level`.
function gw.test.notrace(env, fields) end

---A gateway and the world around it: clients, DNS, MTA-STS, next hops, a clock. One at a time.
---@param opts? { bundle?: string, now?: string, config?: table, seed?: integer }
---@return gw.TestEnv env
function gw.test.env(opts) end

gw.action.reject = gw.reject
gw.action.defer = gw.defer
gw.action.hold = gw.hold
gw.action.discard = gw.discard
gw.action.accept = gw.accept
gw.action.route = gw.route
gw.action.bounce = gw.bounce
gw.action.drop = gw.drop
gw.action.skip_host = gw.skip_host
gw.action.reroute = gw.reroute
gw.action.suppress = gw.suppress
gw.action.tls = gw.tls
