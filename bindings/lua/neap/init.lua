-- neap: an asynchronous runtime in which a coroutine is a task.  This file only wires; neap/meta.lua describes.
local core = rawget(_G, "jit") and require "neap.corejit" or require "neap.core"

if core.waits then
    require "neap.wrap"(core)
end

core.require = core.require or require "neap.require"(core, core.scopes.keep_trace)

local private = {
    waits = true, token = true, resumed = true, protect = true, wired = true, run_command = true,
    scopes = true, selects = true, methods = true, trace = true, interrupted = true, line = true,
    testing = true, control = true, workers = true, servers = true, processes = true, signals = true, fs = true,
    streams = true,
}
local neap = { _VERSION = "neap 0.1.0", pcall = pcall, xpcall = xpcall, assert = assert }

for name, value in pairs(core) do
    if not private[name] then
        neap[name] = value
    end
end

local join_all = require "neap.scope"(neap, core.scopes, core.methods.scope)
require "neap.select"(neap, core.selects, core.scopes, join_all)
require "neap.stream"(core.methods.stream)
require "neap.stdio"(neap)
neap.fs = require "neap.fs"(core.fs, core.methods.file, require "neap.stream")
require "neap.sync"(core.methods, core.scopes.keep_trace, neap.xpcall)
core.workers.command = require "neap.workers"(neap, core.workers)
local hold = require "neap.serve"(neap, core.servers, core.methods.server, core.scopes.keep_trace)
local protocols = require "neap.protocol"(neap, core.servers, core.streams, core.methods, hold, core.scopes.keep_trace)
require "neap.datagram"(neap, core.servers, core.methods, protocols)
require "neap.signal"(core.signals, core.methods.loop)
require "neap.process"(neap, core.processes, core.scopes, core.signals)
package.loaded["neap.testing.core"] = core.testing -- for neap/testing.lua, whichever core this is
core.wired()

return neap
