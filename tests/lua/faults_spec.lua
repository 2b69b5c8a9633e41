-- What goes wrong outside: connections that are reset in each state, peers that are slow, half there or gone, bytes one
-- by one, storms of signals, no descriptors, no room on the disk.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local in_real_loop, fails = helper.in_real_loop, helper.fails

local MUCH = ("0123456789abcdef"):rep(512 * 1024) -- 8 MiB: more than the kernel takes of any connection

-- Two streams over TCP, with little room in the kernel.
local function pair()
    local listener = assert(neap.tcp())
    assert(listener:bind "127.0.0.1:0")
    assert(listener:setsockopt("rcvbuf", 8192))
    assert(listener:listen())
    local a = assert(neap.connect(listener:getsockname()))
    local b = assert(neap.stream(assert(listener:accept())))
    assert(a:setsockopt("sndbuf", 8192))
    listener:close()
    return a, b
end

-- Closes so that the other side hears of a reset.
local function reset(stream)
    assert(stream:setsockopt("linger", 0))
    assert(stream:abort())
end

-- A reset is told once, to whoever asks first; afterwards the pipe is broken.
local function fails_by_reset(value, err)
    assert.is_nil(value)
    assert.is_truthy(err.code == "ECONNRESET" or err.code == "EPIPE", tostring(err))
    return err
end

-- Lets the other side go while fn waits on this one; answers what fn did.
local function reset_while(fn, prepare)
    local a, b = pair()
    if prepare then prepare(a, b) end
    local task = neap.spawn(fn, a, b)
    helper.ticks(3)
    assert.is_false(task:done())
    reset(b)
    local answers = helper.pack(task:await())
    a:abort()
    return helper.unpack(answers, 1, answers.n)
end

describe("a reset", function()
    it("ends a read that waits", in_real_loop(function()
        fails("ECONNRESET", reset_while(function(a) return a:read "l" end))
        fails("ECONNRESET", reset_while(function(a) return a:read_exactly(10) end))
        fails("ECONNRESET", reset_while(function(a) return a:read_until "--" end))
        fails("ECONNRESET", reset_while(function(a) return a:read_all() end))
    end))

    it("leaves what came before it to be read", in_real_loop(function()
        local rest
        fails("ECONNRESET", reset_while(function(a)
            local value, err = a:read_exactly(10)
            rest = a:try_read()
            return value, err
        end, function(a, b)
            b:write "before"
            assert.equal(6, a:fill(6))
        end))
        assert.equal("before", rest)
    end))

    it("ends a write above the high mark", in_real_loop(function()
        local value, err = reset_while(function(a) return a:write(MUCH) end)
        fails_by_reset(value, err)
    end))

    it("ends all writers, and none of them twice", in_real_loop(function()
        local ended = 0
        reset_while(function(a)
            local writers = {}
            for i = 1, 5 do
                writers[i] = neap.spawn(function()
                    fails_by_reset(a:write(MUCH))
                    ended = ended + 1
                end)
            end
            neap.gather(writers)
        end)
        assert.equal(5, ended)
    end))

    it("ends drain, write_eof and a close that has something to send", in_real_loop(function()
        local function with_much(fn)
            return function(a)
                assert(a:buffer(MUCH))
                return fn(a)
            end
        end
        for _, verb in ipairs { "drain", "write_eof", "close" } do
            fails_by_reset(reset_while(with_much(function(a) return a[verb](a) end)))
        end
    end))

    it("ends sendfile, and the file stays usable", in_real_loop(function()
        local path = os.tmpname()
        process.write_file(path, MUCH)
        local file = assert(neap.fs.open(path))
        fails_by_reset(reset_while(function(a) return a:sendfile(file) end))
        assert.equal("0123", file:pread(4, 0))
        file:close()
        os.remove(path)
    end))

    it("in the queue of a server is no failure of the server", in_real_loop(function()
        local server = assert(neap.serve("127.0.0.1:0", function(stream)
            stream:write(stream:read() or "nothing")
        end, { paused = true }))
        local address = server:addresses()[1]
        for _ = 1, 3 do
            reset(assert(neap.connect(address)))
        end
        local client = assert(neap.connect(address))
        client:write "served\n"
        server:resume()
        assert.equal("served", client:read "a")
        client:close()
        server:close()
        server:wait_closed()
    end))

    it("of a connect is a refusal, and the next one works", in_real_loop(function()
        local listener = neap.tcp()
        assert(listener:bind "127.0.0.1:0") -- does not listen: the kernel answers with a reset
        fails("ECONNREFUSED", neap.connect(listener:getsockname()))
        assert(listener:listen())
        assert(neap.connect(listener:getsockname())):close()
        listener:close()
    end))
end)

describe("a peer", function()
    it("that reads slowly makes the writer wait, and gets all in order", in_real_loop(function()
        local a, b = pair()
        local waited = 0
        local writer = neap.spawn(function()
            for i = 1, 64 do
                assert(a:write(MUCH:sub(1, 65536)))
                assert.is_true(a:unsent() <= 128 * 1024)
                waited = i
            end
            assert(a:close())
        end)
        helper.ticks(20)
        assert.is_true(waited < 64)
        local got = {}
        helper.each(function(piece)
            got[#got + 1] = piece
            neap.yield()
        end, function() return b:read(4096) end)
        writer:await()
        assert.is_true(table.concat(got) == MUCH:sub(1, 65536):rep(64))
        b:close()
    end))

    it("may end its writing first, or last", in_real_loop(function()
        for _, first in ipairs { 1, 2 } do
            local ends = { pair() }
            local early, late = ends[first], ends[3 - first]
            early:write "question"
            assert(early:write_eof())
            assert.equal("question", late:read "a")
            for i = 1, 100 do
                assert(late:write("line ", i, "\n"))
            end
            assert(late:write_eof())
            assert.equal("line 1", early:read())
            assert.equal(100 - 1, select(2, early:read("a"):gsub("line", "")))
            assert.is_nil(late:read())
            early:close()
            late:close()
        end
    end))

    it("that is killed is the end of the stream, also in the middle of a line", function()
        local child = process.start { "python3", "-c", [[
import socket, time
s = socket.create_server(("127.0.0.1", 0))
print("%s:%d" % s.getsockname(), flush=True)
c = s.accept()[0]
c.sendall(b"whole\nhal")
time.sleep(1000)
]] }
        local address = "127.0.0.1:" .. child:await_line ":(%d+)\n"
        in_real_loop(function()
            local stream = assert(neap.connect(address))
            assert.equal("whole", stream:read())
            assert.equal(3, stream:fill(3))
            child:signal "KILL"
            assert.equal("hal", stream:read())
            assert.is_nil(stream:read())
            stream:close()
        end)()
        child:wait()
        child:dispose()
    end)

    it("may send and take a byte at a time", in_real_loop(function()
        local a, b = neap.stream_pair()
        local text = "12345--head: value\r\nline\nrest"
        local function one_by_one(from, to)
            helper.each(function(byte)
                assert(to:write(byte))
                assert(to:drain())
            end, function() return from:read(1) end)
            to:write_eof()
        end
        local c, d = neap.stream_pair()
        local relay = neap.spawn(one_by_one, b, c)
        neap.spawn(function()
            for i = 1, #text do
                assert(a:write(text:sub(i, i)))
                assert(a:drain())
                neap.yield()
            end
            a:write_eof()
        end)
        assert.equal("12345", d:read_exactly(5))
        assert.equal("--", d:read_until { "--", ";" })
        assert.equal("head: value\r\n", d:read_until "\r\n")
        assert.equal("line", d:read "l")
        assert.equal("rest", d:read "a")
        relay:await()
        for _, stream in ipairs { a, b, c, d } do
            stream:close()
        end
    end))
end)

describe("a storm of signals", function()
    local module = helper.build_dir .. "/tests/storm.so"
    local begin, finish = package.loadlib(module, "begin"), package.loadlib(module, "finish")
    local arrived = package.loadlib(module, "arrived")

    -- Runs fn again and again until so many signals have come that some have hit its calls.
    local function in_storm(fn)
        return in_real_loop(function(loop)
            begin()
            local ok, err
            repeat
                ok, err = neap.pcall(fn, loop)
            until not ok or arrived() >= 300
            finish()
            assert(ok, err)
        end)
    end

    it("disturbs no echo, no connect and no accept", in_storm(function()
        local server = assert(neap.serve("127.0.0.1:0", function(stream)
            helper.each(function(line)
                stream:write(line, "\n")
            end, stream:lines())
        end))
        for i = 1, 10 do
            local client = assert(neap.connect(server:addresses()[1]))
            for _ = 1, 10 do
                assert(client:write("line ", i, "\n"))
                assert.equal("line " .. i, client:read())
            end
            client:close()
        end
        server:close()
        server:wait_closed()
    end))

    it("disturbs no large transfer", in_storm(function()
        local a, b = neap.stream_pair()
        local writer = neap.spawn(function()
            assert(a:write(MUCH))
            assert(a:close())
        end)
        assert.is_true(b:read "a" == MUCH)
        writer:await()
        b:close()
    end))

    it("disturbs no process and no pipe", in_storm(function()
        local child = assert(neap.process { "sh", "-c", "cat; exit 3", stdin = "pipe", stdout = "pipe" })
        local out, _, ok, how, code = child:communicate "text"
        assert.equal("text", out)
        assert.same({ nil, "exit", 3 }, { ok, how, code })
    end))

    it("disturbs no file", in_storm(function()
        local path = os.tmpname()
        assert(neap.fs.write(path, MUCH))
        assert(neap.fs.append(path, "end"))
        assert.is_true(neap.fs.read(path) == MUCH .. "end")
        local file = assert(neap.fs.open(path))
        assert.equal(#MUCH + 3, file:seek "end")
        assert.equal("end", file:pread(3, #MUCH))
        file:close()
        assert(neap.fs.unlink(path))
    end))

    it("disturbs no name", in_storm(function()
        for _ = 1, 20 do
            assert(neap.resolve("localhost", 80))
            assert(neap.getnameinfo "127.0.0.1:80")
        end
    end))

    it("shortens no sleep", in_storm(function(loop)
        local began = loop:time()
        neap.sleep(0.02)
        assert.is_true(loop:time() - began >= 0.02)
    end))
end)

describe("without descriptors", function()
    it("a server sheds, tells it once, serves who is there, and goes on when some are free", function()
        local result = process.run({ "sh", "-c", "ulimit -n 32; exec " .. process.quote(helper.command) .. " -" }, {
            input = [[
                local neap = require "neap"
                local reports = {}
                neap.loop():on_error(function(report) reports[#reports + 1] = report end)
                local server = assert(neap.serve("127.0.0.1:0", function(stream)
                    local line
                    repeat line = stream:read "L" until not line or not stream:write(line)
                end, { backoff = 0.01 }))
                local address = server:addresses()[1]
                local function echoes(client)
                    return client:write "line\n" and client:read() == "line"
                end
                local first = assert(neap.connect(address))
                assert(echoes(first))
                local taken = {}
                repeat
                    local s = neap.tcp()
                    local ok = s:bind "127.0.0.1:0"
                    taken[#taken + 1] = s
                until not ok
                taken[1]:close() -- a number for a client, and none for the server's side
                local client, err = neap.connect(address)
                print("while short", client and client:read() == nil or err.code, echoes(first))
                if client then client:close() end
                for _, sock in ipairs(taken) do sock:close() end
                local again = assert(neap.connect(address))
                print("afterwards", echoes(again), echoes(first))
                print("reports", #reports, reports[1].kind, reports[1].code)
                again:close()
                first:close()
                server:close()
                server:wait_closed()
            ]],
        })
        assert.equal("", result.err)
        assert.equal("while short\ttrue\ttrue\nafterwards\ttrue\ttrue\nreports\t1\tshortage\tEMFILE\n", result.out)
    end)

    it("what needs one fails with EMFILE and its operation, and works again later", function()
        local result = process.run({ "sh", "-c", "ulimit -n 32; exec " .. process.quote(helper.command) .. " -" }, {
            input = [[
                local neap = require "neap"
                local listener = neap.tcp()
                assert(listener:bind "127.0.0.1:0")
                assert(listener:listen())
                local address = listener:getsockname()
                local function attempts()
                    return {
                        { "connect", neap.connect, address },
                        { "open", neap.fs.open, "/dev/null" },
                        { "read", neap.fs.read, "/dev/null" },
                        { "serve", neap.serve, "127.0.0.1:0", function() end },
                        { "process", neap.process, { "true", stdout = "pipe" } },
                        { "stream_pair", neap.stream_pair },
                    }
                end
                local function try(name, fn, ...)
                    local value, err = fn(...)
                    print(name, value == nil and err.code or "works")
                    if name == "serve" and value then value:abort() end
                    if name == "process" and value then value:wait() end
                    if value and type(value) ~= "string" and value.close then value:close() end
                end
                try("read", neap.fs.read, "/dev/null") -- its threads, and whatever else it needs, are there
                local taken = {}
                repeat
                    local s = neap.tcp()
                    local ok = s:bind "127.0.0.1:0"
                    taken[#taken + 1] = s
                until not ok
                for _, a in ipairs(attempts()) do try((table.unpack or unpack)(a)) end
                for _, s in ipairs(taken) do s:close() end
                for _, a in ipairs(attempts()) do try((table.unpack or unpack)(a)) end
            ]],
        })
        assert.equal("", result.err)
        local names = { "connect", "open", "read", "serve", "process", "stream_pair" }
        local expected = { "read\tworks" }
        for _, outcome in ipairs { "EMFILE", "works" } do
            for _, name in ipairs(names) do
                expected[#expected + 1] = name .. "\t" .. outcome
            end
        end
        assert.equal(table.concat(expected, "\n") .. "\n", result.out)
    end)
end)

describe("on a full disk", function()
    -- A script under a limit to the size of its files, which fails as a full disk does, but with a code of its own.
    local function limited(text)
        local result = process.run({ "sh", "-c",
            "trap '' XFSZ; ulimit -f 64; exec " .. process.quote(helper.command) .. " -" }, { input = text })
        assert.equal("", result.err)
        return result.out
    end

    it("a write tells how much went, and what was there stays", function()
        assert.equal("EFBIG\t32768\t32768\n", limited [[
            local neap = require "neap"
            local path = os.tmpname()
            local file = assert(neap.fs.open(path, "w"))
            local _, err = file:write(("x"):rep(1000000))
            print(err.code, err.partial, neap.fs.stat(path).size)
            file:close()
            os.remove(path)
        ]])
    end)

    it("a replacement leaves the old file, and no other", function()
        assert.equal("EFBIG\told\t1\n", limited [[
            local neap = require "neap"
            local dir = neap.fs.mkdtemp()
            assert(neap.fs.write(dir .. "/file", "old"))
            local _, err = neap.fs.replace(dir .. "/file", ("x"):rep(1000000))
            print(err.code, neap.fs.read(dir .. "/file"), #neap.fs.readdir(dir))
            neap.fs.remove_tree(dir)
        ]])
    end)

    it("a stream into a file fails, and the script goes on", in_real_loop(function()
        local file = assert(neap.fs.open("/dev/full", "w"))
        local stream = assert(neap.shared_stream(file:fileno()))
        assert(stream:buffer "text")
        fails("ENOSPC", stream:drain())
        stream:abort()
        file:close()
    end))
end)
