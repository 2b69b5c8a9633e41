-- Lua sources serve 5.1 to 5.4 and LuaJIT alike, so only what all have is free to use.
std = "max"
max_line_length = 120
unused_args = false
exclude_files = { "build", "build-*" }

files["tests/**/*_spec.lua"] = { std = "max+busted" }
files["tests/lua/**"] = { std = "max+busted" }
files["bindings/lua/neap/meta.lua"] = { ignore = { "2..", "6.." } } -- annotations only, never run
