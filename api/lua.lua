-- What a policy sees of Lua itself. For luacheck, and compared with the sandbox.
globals {
  "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawlen", "require", "select",
  "setmetatable", "tonumber", "tostring", "type", "xpcall", "_G", "_VERSION",
  string = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack", "packsize", "rep", "reverse",
    "sub", "unpack", "upper" },
  table = { "concat", "insert", "move", "pack", "remove", "sort", "unpack" },
  math = { "abs", "acos", "asin", "atan", "ceil", "cos", "deg", "exp", "floor", "fmod", "huge", "log", "max", "maxinteger", "min",
    "mininteger", "modf", "pi", "rad", "random", "sin", "sqrt", "tan", "tointeger", "type", "ult" },
  utf8 = { "char", "charpattern", "codepoint", "codes", "len", "offset" },
  os = { "date", "time" },
  coroutine = { "close", "create", "isyieldable", "resume", "status", "wrap", "yield" },
}
