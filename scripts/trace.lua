-- Runs a script and writes what its loop did, for https://ui.perfetto.dev: each task with its steps, and who woke whom.
--   neap scripts/trace.lua out.json script.lua [arguments]
local neap = require "neap"
local trace = require "neap.trace"

local out, script = arg[1], arg[2]
if not script then
    io.stderr:write "usage: neap scripts/trace.lua out.json script.lua [arguments]\n"
    neap.exit(2)
end

local fn = assert(loadfile(script))
local arguments = { [0] = script }
for i = 3, #arg do
    arguments[i - 2] = arg[i]
end
rawset(_G, "arg", arguments)
trace.record(out, fn, (table.unpack or unpack)(arguments))
