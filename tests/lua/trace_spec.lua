-- Recordings for Perfetto's viewer: neap.trace and scripts/trace.lua.
local helper = require "support.helper"
local process = require "support.process"

-- Reads the file as any other program would; prints figures and what is wrong.
local reader = [==[
import json, sys
events = json.load(open(sys.argv[1], encoding="utf-8"))["traceEvents"]
tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
events = [e for e in events if e["ph"] != "M"]
last = 0
tails, heads, ends = {}, {}, {}
for e in events:
    assert e["ts"] >= last, "times go back"
    assert e["tid"] in tracks, "a track without a name"
    last = e["ts"]
    if e["ph"] == "X":
        assert e["dur"] >= 0
        if e["tid"] != 0 and e["dur"] > 0:
            assert e["ts"] >= ends.get(e["tid"], 0) - 0.001, "steps of a task overlap"
            ends[e["tid"]] = e["ts"] + e["dur"]
    elif e["ph"] == "s":
        assert e["id"] not in tails
        tails[e["id"]] = e
    elif e["ph"] == "f":
        assert e["id"] not in heads
        heads[e["id"]] = e
assert tails.keys() == heads.keys(), "arrows without an end"
for i in tails:
    assert tails[i]["ts"] <= heads[i]["ts"]
    assert tails[i]["name"] == heads[i]["name"]
print("tracks", *[tracks[t] for t in sorted(tracks)])
for i in sorted(tails):
    print(tails[i]["name"], tracks[tails[i]["tid"]], "->", tracks[heads[i]["tid"]])
print("polls", len([e for e in events if e["name"] == "poll"]) > 0)
for e in events:
    if e["ph"] == "X" and e["tid"] != 0 and "args" in e and tracks[e["tid"]] == "child":
        print("child", e["args"]["then"])
]==]

local script = [[
    local neap = require "neap"
    local f = neap.future()
    local a = neap.socketpair() -- while something is parked each turn polls
    local parked = neap.loop():sock_recv(a, 1)
    local child = neap.spawn { function() f:await() neap.yield() end, name = "child" }
    neap.sleep(0.001)
    parked:cancel()
    f:set_result(...)
    child:await()
    neap.spawn { function() end, name = 'odd "\1\255 \195\164' }:await()
    print(#arg, arg[0]:match "[^/]*$", ...)
]]

local function read(path)
    return process.run { "python3", "-c", reader, path }
end

describe("trace", function()
    it("scripts/trace.lua writes a file of which every event is in order and every arrow has two ends", function()
        local dir = process.temp_dir()
        process.write_file(dir .. "/script.lua", script)
        local run = process.run { helper.command, helper.source_dir .. "/scripts/trace.lua", dir .. "/out.json",
            dir .. "/script.lua", "x", "y" }
        local seen = read(dir .. "/out.json")
        process.remove(dir)
        assert.equal("", run.err)
        assert.equal("2\tscript.lua\tx\ty\n", run.out)
        assert.equal("", seen.err)
        assert.equal(table.concat({
            "tracks loop main child odd \"\1? \195\164",
            "spawn main -> child",
            "wake main -> child",
            "wake child -> main",
            "spawn main -> odd \"\1? \195\164",
            "wake odd \"\1? \195\164 -> main",
            "polls True",
            "child waits",
            "child yields",
            "child done",
            "",
        }, "\n"), seen.out)
    end)

    it("a script that fails leaves its recording, and its error goes on", function()
        local dir = process.temp_dir()
        process.write_file(dir .. "/script.lua", "require 'neap'.yield() error 'no luck'")
        local run = process.run { helper.command, helper.source_dir .. "/scripts/trace.lua", dir .. "/out.json",
            dir .. "/script.lua" }
        local seen = read(dir .. "/out.json")
        process.remove(dir)
        assert.equal(1, run.code)
        helper.contains("no luck", run.err)
        assert.equal("", seen.err)
        helper.contains("tracks loop main", seen.out)
    end)

    it("without a script it says how it is used", function()
        local run = process.run { helper.command, helper.source_dir .. "/scripts/trace.lua" }
        assert.equal(2, run.code)
        helper.contains("usage:", run.err)
    end)
end)
