-- Makes what comes from the specification of the API (api/*.lua): the checks of arguments and the texts of gw.help in C, the types for
-- editors, the names for luacheck, the reference.
--
--     lua5.4 scripts/api/main.lua SOURCE OUTPUT [c | docs]
--
-- SOURCE is the folder of the sources, OUTPUT another or the same. `c` makes src/policy/api_*.c, as make does in the build folder;
-- `docs` makes lua/meta and doc/reference, which are kept with the sources: lua5.4 scripts/api/main.lua . . docs
-- Prints the names of the files.
local root, out, what = arg[1] or ".", arg[2] or ".", arg[3]

package.path = root .. "/scripts/api/?.lua"
local read = require "read"

local files = {}
for name in read.file(root .. "/api/files.txt"):gmatch("%S+") do
  files[#files + 1] = name
end

local function write(path, text)
  local f = assert(io.open(out .. "/" .. path, "wb"))
  assert(f:write(text))
  assert(f:close())
  print(path)
end

local spec = read.read(root, files)
if what ~= "docs" then
  require("c")(spec, write)
end
if what ~= "c" then
  require("meta")(spec, write)
  require("pages")(spec, write, root)
end
