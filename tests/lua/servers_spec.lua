-- The servers under scripts/ as a user runs them, with clients of their own kind.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local contains = helper.contains

local dir = helper.source_dir .. "/scripts/"

local function start(script, ...)
    local child = process.start { helper.command, dir .. script, ... }
    return child, child:await_line "^listening on ([^\n]+)\n"
end

local function connect(address)
    local sock = neap.tcp()
    assert(sock:connect(address))
    return assert(neap.stream(sock))
end

-- A client who is sent away at once, perhaps before it has seen that it was connected.
local function visit(address)
    local sock = neap.tcp()
    if sock:connect(address) then sock:recv() end
    sock:close()
end

-- Waits for a line of a child without stopping the loop, which may serve it.
local function until_printed(child, pattern)
    while not child:out():find(pattern) do neap.sleep(0.001) end
end

-- Runs a test's body as a task that must end in time.
local function in_time(fn)
    neap.run(neap.timeout, helper.patience, function()
        neap.loop():on_slow(math.huge) -- starting a program blocks
        fn()
    end)
end

local function echo(stream)
    local data = stream:read_some()
    while data do
        stream:write(data)
        data = stream:read_some()
    end
end

describe("proxy.lua", function()
    local child, address

    -- With a proxy before a target of the test's own.
    local function before(handler, fn, ...)
        local options = { ... }
        in_time(function()
            local target = neap.serve("127.0.0.1:0", handler)
            options[#options + 1] = "127.0.0.1:0"
            options[#options + 1] = target:addresses()[1]
            if child then child:dispose() end
            child, address = start("proxy.lua", helper.unpack(options))
            fn(target)
            target:abort()
            target:wait_closed()
        end)
    end

    after_each(function()
        if child then child:dispose() end
        child = nil
    end)

    it("relays both ways, also a lot, and counts", function()
        local text = ("0123456789"):rep(300000)
        before(echo, function()
            local client = connect(address)
            local writer = neap.spawn(function()
                client:write(text)
                client:write_eof()
            end)
            assert.is_true(client:read_all(#text + 1) == text)
            writer:await()
            client:close()
            until_printed(child, "3000000 bytes up, 3000000 down")
            child:signal "TERM"
        end)
        assert.equal(0, child:wait())
        assert.matches("\n1 connections, 3000000 bytes up, 3000000 down\n$", child:out())
        assert.equal("", child:err())
    end)

    it("an end in one direction leaves the other open", function()
        before(function(stream)
            local question = stream:read_all()
            neap.sleep(0.01)
            stream:write(#question .. " bytes, thank you")
        end, function()
            local client = connect(address)
            client:write "hello"
            client:write_eof()
            assert.equal("5 bytes, thank you", client:read_all())
            client:close()
        end)
        -- and the other way round
        before(function(stream)
            stream:write "first"
            stream:write_eof()
            assert(stream:read_all() == "the rest")
        end, function(target)
            local client = connect(address)
            assert.equal("first", client:read_all())
            client:write "the rest"
            client:close()
            while target:metrics().open > 0 do neap.sleep(0.001) end
        end)
    end)

    it("a reset goes on to the other side", function()
        local code
        before(function(stream)
            stream:read_exactly(4)
            local _, err = stream:read_some()
            code = err and err.code
        end, function(target)
            local client = connect(address)
            client:write "four"
            while target:metrics().open == 0 do neap.sleep(0.001) end
            neap.sleep(0.01)
            client:abort()
            while target:metrics().open > 0 do neap.sleep(0.001) end
        end)
        assert.equal("ECONNRESET", code)
    end)

    it("a target that refuses ends the connection and is named", function()
        in_time(function()
            local target = neap.listen "127.0.0.1:0"
            local gone = target:addresses()[1]
            target:close()
            child, address = start("proxy.lua", "127.0.0.1:0", gone)
            visit(address)
            until_printed(child, "connect " .. gone:gsub("%.", "%%.") .. ": connection refused")
        end)
    end)

    it("takes a name for the target, and says of each of its addresses what it has answered", function()
        in_time(function()
            local target = neap.serve("127.0.0.1:0", echo)
            local port = target:addresses()[1]:match ":(%d+)$"
            child, address = start("proxy.lua", "127.0.0.1:0", "localhost:" .. port)
            local client = connect(address)
            client:write "hello"
            assert.equal("hello", client:read_exactly(5))
            client:close()
            until_printed(child, "5 bytes up, 5 down")
            target:close()
            target:wait_closed()
            visit(address)
            until_printed(child, "connect localhost:" .. port .. ": [^\n]*127.0.0.1:" .. port .. ": connection refused")
        end)
    end)

    it("ends what is idle, and lets no more in than it may", function()
        before(echo, function()
            local first, second = connect(address), connect(address)
            second:write "hello"
            local data, err = first:read_all() -- idle
            assert.is_true(data == nil and err.code == "ECONNRESET" or data == "")
            assert.equal("hello", second:read_exactly(5)) -- now it is let in
            first:close()
            second:close()
        end, "--max", "1", "--idle", "0.05")
        assert.matches("nothing has come for 0.05 s", child:out())
    end)

    it("SIGTERM lets connections end within the grace", function()
        before(echo, function()
            local client = connect(address)
            client:write "one"
            assert.equal("one", client:read_exactly(3))
            child:signal "TERM"
            while true do
                local late = neap.tcp()
                local ok = late:connect(address)
                late:close()
                if not ok then break end
                neap.sleep(0.001)
            end
            client:write "two"
            assert.equal("two", client:read_exactly(3))
            client:close()
        end)
        assert.equal(0, child:wait())
        assert.matches("connections, 6 bytes up, 6 down\n$", child:out())
    end)

    it("--help says how it is used, and so does a mistake", function()
        local result = process.run { helper.command, dir .. "proxy.lua", "--help" }
        contains("usage: neap scripts/proxy.lua", result.out)
        assert.equal(0, result.code)
        result = process.run { helper.command, dir .. "proxy.lua", "--max" }
        contains("usage: neap scripts/proxy.lua", result.err)
        assert.equal(2, result.code)
    end)
end)

describe("chat_server.lua", function()
    local child, address

    after_each(function()
        if child then child:dispose() end
        child = nil
    end)

    local function enter(nick)
        local client = connect(address)
        assert.matches("^%* you are in lobby with %d+ others$", client:read())
        client:write("/nick ", nick, "\n")
        assert.matches(" is now " .. nick .. "$", client:read())
        return client
    end

    local function with_chat(fn, ...)
        child, address = start("chat_server.lua", "127.0.0.1:0", ...)
        in_time(fn)
    end

    it("lines go to the room, from whom they are", function()
        with_chat(function()
            local ann, bob = enter "ann", enter "bob"
            assert.matches("has joined$", ann:read())
            assert.matches("is now bob$", ann:read())
            ann:write "hello\nworld\n"
            assert.equal("<ann> hello", bob:read())
            assert.equal("<ann> world", bob:read())
            bob:write "/join kitchen\n"
            assert.equal("* bob has left", ann:read())
            assert.equal("* you are in kitchen with 0 others", bob:read())
            ann:write "anybody?\n/who\n/rooms\n"
            assert.equal("* ann", ann:read())
            assert.equal("* kitchen (1), lobby (1)", ann:read())
            bob:write "/nick ann\n/nick no good\n/jump\n/quit\n"
            assert.equal("* ann is somebody else", bob:read())
            contains("a nick name has", bob:read())
            assert.equal("* unknown command", bob:read())
            assert.equal("* goodbye", bob:read())
            assert.is_nil(bob:read())
            ann:close()
            bob:close()
        end)
    end)

    it("a line that is too long ends the connection, and its room hears of it", function()
        with_chat(function()
            local ann, bob = enter "ann", enter "bob"
            ann:read()
            ann:read()
            bob:write(("x"):rep(5000))
            assert.equal("* this line is too long", bob:read())
            assert.equal("* bob has left", ann:read())
            ann:close()
            bob:abort()
        end)
    end)

    local MUCH = 20000 -- lines; more than the kernel's buffers take

    -- Somebody who does not read, while somebody else talks much.
    local function flood(lines)
        local talker, listener, sleeper = enter "talker", enter "listener", enter "sleeper"
        local heard = neap.spawn(function()
            local n = 0
            while n < lines do
                local line = assert(listener:read())
                if line:find "^<talker>" then n = n + 1 end
            end
        end)
        local text = ("x"):rep(900) .. "\n"
        for _ = 1, lines do
            talker:write(text)
        end
        heard:await()
        talker:write "/who\n"
        local who
        repeat
            who = talker:read()
        until who:find "^%* [%w, ]*talker$"
        return talker, listener, sleeper, who
    end

    it("a client that does not read is dropped, and the others hear everything", function()
        with_chat(function()
            local talker, listener, sleeper, who = flood(MUCH)
            assert.equal("* listener, talker", who)
            for _, client in ipairs { talker, listener, sleeper } do client:abort() end
        end, "--unsent", "20000")
    end)

    it("or it misses what comes meanwhile and is told how much", function()
        with_chat(function()
            local talker, listener, sleeper = flood(MUCH)
            local heard, missed = 0, nil
            neap.spawn(function()
                while not missed do
                    talker:write "are you there?\n"
                    neap.sleep(0.01)
                end
            end)
            while not missed do
                local line = sleeper:read()
                if line:find "^<talker> x" then heard = heard + 1 end
                missed = tonumber(line:match "^%* you have missed (%d+) messages$")
            end
            assert.is_true(heard > 0 and missed > 0 and heard + missed >= MUCH)
            for _, client in ipairs { talker, listener, sleeper } do client:abort() end
        end, "--unsent", "20000", "--slow", "skip")
    end)

    it("memory does not grow with clients that do not read", function()
        with_chat(function()
            local sleepers = {}
            for i = 1, 20 do
                sleepers[i] = enter("sleeper" .. i)
            end
            local function resident()
                local text = process.read_file("/proc/" .. child.pid .. "/status")
                return tonumber(text:match "VmRSS:%s*(%d+)")
            end
            local before = resident()
            local talker, listener, sleeper = flood(5000)
            for _, client in ipairs { talker, listener, sleeper } do client:abort() end
            -- in KiB; 5000 lines for 20 clients are 90 MB. A sanitizer keeps what is freed.
            assert.is_true(helper.sanitized or resident() - before < 20 * 1024)
            for _, client in ipairs(sleepers) do client:abort() end
        end, "--slow", "skip")
    end)

    it("SIGTERM says goodbye to all", function()
        with_chat(function()
            local ann, bob = enter "ann", enter "bob"
            ann:read()
            ann:read()
            child:signal "TERM"
            assert.equal("* the server stops", ann:read())
            assert.equal("* the server stops", bob:read())
            ann:close()
            bob:close()
        end)
        assert.equal(0, child:wait())
        assert.equal("", child:err())
    end)

    it("--help says how it is used", function()
        local result = process.run { helper.command, dir .. "chat_server.lua", "--help" }
        contains("usage: neap scripts/chat_server.lua", result.out)
        assert.equal(0, result.code)
    end)
end)

describe("seeds/create_server.lua", function()
    for _, which in ipairs { "by hand", "neap" } do
        it("N10 N11 N12 N13: the echo protocol, " .. which .. ", ends with an interrupt", function()
            local child = process.start { helper.lua, dir .. "seeds/create_server.lua", "localhost:0", which }
            finally(function() child:dispose() end)
            local address = child:await_line "^listening on ([^\n]+)\n"
            in_time(function()
                for _, word in ipairs { "Hello\n", "asyncio\n" } do
                    local client = connect(address)
                    client:write(word)
                    assert.equal(word, client:read_exactly(#word))
                    client:close()
                end
            end)
            child:signal "INT"
            child:wait()
            assert.equal("", child:err())
            local from = "Connection from 127%.0%.0%.1:%d+\n"
            assert.matches("\n" .. from .. from .. "closed\n$", child:out())
        end)
    end
end)
