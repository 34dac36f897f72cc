-- lua5.4 scripts/embed.lua OUTPUT ARRAY {NAME FILE}...: writes a table of C with the texts of files.
local function quote(s)
  return '"' .. s:gsub('[\\"?]', "\\%0"):gsub("\n", "\\n\"\n\t\"") .. '"'
end
local out = { "/* Made by scripts/embed.lua. */", '#include "config.h"', "", '#include "ctl/cli_new.h"', "",
  "const struct cli_new_file " .. arg[2] .. "[] = {" }
for i = 3, #arg, 2 do
  local f = assert(io.open(arg[i + 1], "rb"))
  out[#out + 1] = string.format("\t{ %s,\n\t%s },", quote(arg[i]), quote(f:read("a")))
  f:close()
end
out[#out + 1] = "\t{ NULL, NULL }\n};\n"
local f = assert(io.open(arg[1], "wb"))
assert(f:write(table.concat(out, "\n")))
assert(f:close())
