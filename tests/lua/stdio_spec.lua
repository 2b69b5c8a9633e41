-- The process's own streams: pipes, files, terminals, and what becomes of what was written when a run ends.
local helper = require "support.helper"
local process = require "support.process"

-- Runs a script in a shell pipeline, in which %s stands for the command and the script.
local function pipeline(text, line)
    local dir = process.temp_dir()
    process.write_file(dir .. "/script.lua", "local neap = require 'neap'\n" .. text)
    local command = process.quote(helper.command) .. " " .. dir .. "/script.lua"
    local out = process.run { "sh", "-c", "cd " .. dir .. "; " .. line:gsub("%%s", function() return command end) }
    process.remove(dir)
    assert.equal("", out.err)
    return out.out
end

local copy = [[
    local line = neap.stdin:read()
    while line do
        neap.stdout:write("<", line, ">\n")
        line = neap.stdin:read()
    end
]]

describe("standard streams", function()
    it("read and write pipes", function()
        assert.equal("<one>\n<two>\n", pipeline(copy, "printf 'one\\ntwo' | %s | cat"))
    end)

    it("read and write files", function()
        assert.equal("<one>\n", pipeline(copy, "echo one > in; %s < in > out; cat out"))
    end)

    it("are empty where there is nothing", function()
        assert.equal("", pipeline(copy, "%s < /dev/null"))
    end)

    it("let other tasks run while one waits for input", function()
        assert.equal("tick\n<late>\n", pipeline([[
            local ready = neap.event()
            neap.spawn(function()
                neap.stdout:write "tick\n"
                neap.stdout:drain()
                local file = io.open("go", "w")
                file:close()
            end)
        ]] .. copy, "(while ! [ -e go ]; do sleep 0.01; done; echo late) | %s"))
    end)

    it("send all that was written before the run ends", function()
        assert.equal("300000\n", pipeline([[
            neap.stdout:buffer(("x"):rep(300000))
        ]], "%s | (sleep 0.05; wc -c)"))
    end)

    it("tell that nobody reads any more, without a signal", function()
        assert.equal("0 EPIPE\n", pipeline([[
            neap.stdin:read()
            local ok, err = true, nil
            for _ = 1, 3 do
                ok, err = neap.stdout:write("x")
                neap.sleep(0)
            end
            local file = io.open("answer", "w")
            file:write(err and err.code or "nothing")
            file:close()
        ]], "mkfifo p; ((while ! [ -e closed ]; do sleep 0.01; done; echo) | %s; echo $? > status) | "
            .. "(exec <&-; touch closed); while ! [ -s status ]; do sleep 0.01; done; "
            .. "echo $(cat status) $(cat answer)"))
    end)

    it("leave the flags of what they share with others as they are", function()
        local parent = [[
import os, subprocess
(r, w), (i, o) = os.pipe(), os.pipe()
child = subprocess.Popen("exec %s", shell=True, stdin=i, stdout=w)
n = 0
while n < 300000:
    n += len(os.read(r, 65536))
    assert os.get_blocking(w) and os.get_blocking(i)
child.wait()
print(n, "blocking" if os.get_blocking(w) and os.get_blocking(i) else "changed")
]]
        assert.equal("300000 blocking\n", pipeline([[
            neap.stdout:write(("x"):rep(300000))
            neap.stdin:try_read()
        ]], "python3 -c " .. process.quote(parent)))
    end)
end)
