-- scripts/redis_server.lua with the clients that people have: redis-cli, redis-benchmark, and raw bytes.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"

local script = helper.source_dir .. "/scripts/redis_server.lua"
local wrong_kind = "(error) WRONGTYPE Operation against a key holding the wrong kind of value"
local dir, server, address

-- Runs the server with the options, on a Unix socket.
local function start(...)
    server = process.start { helper.command, script, "--bind", address, ... }
    server:await_line "^listening on ([^\n]+)\n"
end

local function stop(signal)
    server:signal(signal or "TERM")
    local code = server:wait()
    local err = server:err()
    server:dispose()
    server = nil
    return code, err
end

-- What redis-cli prints for these lines, in the form with types.
local function cli(...)
    local input = table.concat({ ... }, "\n") .. "\n"
    local result = process.run({ "redis-cli", "--no-raw", "-s", address }, { input = input })
    assert.equal(0, result.code, result.err)
    return (result.out:gsub("\n$", ""))
end

-- Each line of redis-cli with the reply to it.
local function dialogue(pairs_of)
    local lines, expected = {}, {}
    for i = 1, #pairs_of, 2 do
        lines[#lines + 1] = pairs_of[i]
        expected[#expected + 1] = pairs_of[i + 1]
    end
    assert.equal(table.concat(expected, "\n"), cli(helper.unpack(lines)))
end

-- Runs a test's body as a task that must end in time.
local function in_time(fn)
    return function()
        neap.run(neap.timeout, 2 * helper.patience, function()
            neap.loop():on_slow(math.huge) -- other programs are waited for
            fn()
        end)
    end
end

local function connect()
    local sock = neap.unix()
    assert(sock:connect(address))
    return assert(neap.stream(sock))
end

local function request(...)
    local words = { ... }
    local out = { "*" .. #words .. "\r\n" }
    for _, word in ipairs(words) do out[#out + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n" end
    return table.concat(out)
end

-- A line without its end.
local function line(stream)
    local text = stream:read_line()
    return text and text:gsub("\r$", "") or nil
end

-- A request on a raw connection and the line that answers it.
local function ask(stream, ...)
    stream:write(request(...))
    return line(stream)
end

before_each(function()
    dir = process.temp_dir()
    address = dir .. "/redis"
end)

after_each(function()
    if server then server:dispose() end
    server = nil
    process.remove(dir)
end)

describe("commands of redis_server.lua", function()
    before_each(function() start() end)

    it("strings", function()
        dialogue {
            "set a hello", "OK",
            "get a", '"hello"',
            "get none", "(nil)",
            "append a ' world'", "(integer) 11",
            "strlen a", "(integer) 11",
            "getrange a -5 -1", '"world"',
            "setrange a 14 !", "(integer) 15",
            "get a", [["hello world\x00\x00\x00!"]],
            "setnx a other", "(integer) 0",
            "set a x nx", "(nil)",
            "set b x xx", "(nil)",
            "set a y xx get", [["hello world\x00\x00\x00!"]],
            "getset a z", '"y"',
            "getdel a", '"z"',
            "exists a", "(integer) 0",
            "mset a 1 b 2", "OK",
            "msetnx b 3 c 4", "(integer) 0",
            "mget a b c", '1) "1"\n2) "2"\n3) (nil)',
            "set a 1 nx xx", "(error) ERR syntax error",
            "set a 1 ex", "(error) ERR syntax error",
            "set a 1 ex 0", "(error) ERR invalid expire time in 'set' command",
        }
    end)

    it("numbers in strings", function()
        dialogue {
            "incr n", "(integer) 1",
            "incrby n 41", "(integer) 42",
            "decr n", "(integer) 41",
            "decrby n 50", "(integer) -9",
            "incrbyfloat n 0.5", '"-8.5"',
            "incr n", "(error) ERR value is not an integer or out of range",
            "incrbyfloat n 1e400", "(error) ERR increment would produce NaN or Infinity",
            "incrbyfloat n 0x10", "(error) ERR value is not a valid float",
            "set n 9007199254740991", "OK",
            "incr n", "(error) ERR increment or decrement would overflow",
            "decr n", "(integer) 9007199254740990",
        }
    end)

    it("lists", function()
        dialogue {
            "rpush l b c d", "(integer) 3",
            "lpush l a", "(integer) 4",
            "llen l", "(integer) 4",
            "lrange l 0 -1", '1) "a"\n2) "b"\n3) "c"\n4) "d"',
            "lrange l -2 100", '1) "c"\n2) "d"',
            "lrange l 5 9", "(empty array)",
            "lindex l -1", '"d"',
            "lindex l 9", "(nil)",
            "lset l 1 B", "OK",
            "lset l 9 x", "(error) ERR index out of range",
            "linsert l before c b2", "(integer) 5",
            "linsert l after none x", "(integer) -1",
            "lpop l", '"a"',
            "rpop l 2", '1) "d"\n2) "c"',
            "lpop none 2", "(nil)",
            "lrange l 0 -1", '1) "B"\n2) "b2"',
            "rpoplpush l other", '"b2"',
            "rpoplpush l l", '"B"',
            "lrem l 0 B", "(integer) 1",
            "exists l other", "(integer) 1",
            "lpushx l a", "(integer) 0",
            "rpush l a b a c a", "(integer) 5",
            "lrem l -2 a", "(integer) 2",
            "ltrim l 1 -1", "OK",
            "lrange l 0 -1", '1) "b"\n2) "c"',
        }
    end)

    it("hashes", function()
        dialogue {
            "hset h f 1 g 2", "(integer) 2",
            "hset h f 3", "(integer) 0",
            "hset h f", "(error) ERR wrong number of arguments for 'hset' command",
            "hset h f 1 g", "(error) ERR wrong number of arguments for 'hset' command",
            "hget h f", '"3"',
            "hget h none", "(nil)",
            "hmget h f none", '1) "3"\n2) (nil)',
            "hsetnx h f 4", "(integer) 0",
            "hexists h g", "(integer) 1",
            "hlen h", "(integer) 2",
            "hincrby h n -5", "(integer) -5",
            "hincrby h n x", "(error) ERR value is not an integer or out of range",
            "hdel h f n none", "(integer) 2",
            "hgetall h", '1) "g"\n2) "2"',
            "hkeys h", '1) "g"',
            "hvals h", '1) "2"',
            "hdel h g", "(integer) 1",
            "type h", "none",
        }
    end)

    it("keys of any kind, in several databases", function()
        dialogue {
            "mset k1 a k2 b other c", "OK",
            "rpush list a", "(integer) 1",
            "type list", "list",
            "keys 'k[0-1^]'", '1) "k1"',
            "keys 'k[^1]'", '1) "k2"',
            "keys '*h?r'", '1) "other"',
            [[keys 'k\?']], "(empty array)",
            "scan 0 match k1 count 10", '1) "0"\n2) 1) "k1"',
            "scan 0 type list", '1) "0"\n2) 1) "list"',
            "scan 0 match", "(error) ERR syntax error",
            "dbsize", "(integer) 4",
            "rename k1 k2", "OK",
            "get k2", '"a"',
            "rename none k2", "(error) ERR no such key",
            "renamenx k2 other", "(integer) 0",
            "del k2 none", "(integer) 1",
            "select 1", "OK",
            "dbsize", "(integer) 0",
            "set x y", "OK",
            "flushdb", "OK",
            "select 16", "(error) ERR DB index is out of range",
            "select 0", "OK",
            "exists other list", "(integer) 2",
            "flushall", "OK",
            "dbsize", "(integer) 0",
        }
    end)

    it("a value of the wrong kind is refused and stays", function()
        dialogue {
            "set s 1", "OK",
            "rpush l 1", "(integer) 1",
            "lpush s x", wrong_kind,
            "hget l x", wrong_kind,
            "get l", wrong_kind,
            "incr l", wrong_kind,
            "blpop s 1", wrong_kind,
            "mget s l", '1) "1"\n2) (nil)',
            "lrange l 0 -1", '1) "1"',
        }
    end)

    it("what is no command or has too few or too many words is refused", function()
        dialogue {
            "get", "(error) ERR wrong number of arguments for 'get' command",
            "get a b", "(error) ERR wrong number of arguments for 'get' command",
            "nonsense 1", "(error) ERR unknown command 'nonsense'",
            "ping", "PONG",
            "PiNg you", '"you"',
            "echo hello", '"hello"',
        }
    end)

    it("expiry", function()
        dialogue {
            "set a 1 px 1", "OK",
            "setex b 100 x", "OK",
            "persist b", "(integer) 1",
            "ttl b", "(integer) -1",
            "ttl none", "(integer) -2",
            "expire b 50", "(integer) 1",
            "set b y keepttl", "OK",
            "append b y", "(integer) 2",
            "rename b c", "OK",
            "persist c", "(integer) 1",
            "persist c", "(integer) 0",
            "expire c 50", "(integer) 1",
            "set c x", "OK",
            "ttl c", "(integer) -1",
            "expire c -1", "(integer) 1",
            "exists c", "(integer) 0",
            "expire none 1", "(integer) 0",
            "expire none 99999999999999", "(error) ERR invalid expire time in 'expire' command",
        }
        local left = tonumber(cli("set d 1 ex 100", "ttl d"):match "%(integer%) (%d+)$")
        assert.is_true(left > 0 and left <= 100)
        process.await("the end of a", function() return cli "get a" == "(nil)" end)
    end)

    it("keys go without being asked for when their time is over", function()
        cli("set a 1 px 5", "set b 1 px 10", "hset h f 1", "pexpire h 5")
        process.await("the sweep", function() return cli "dbsize" == "(integer) 0" end)
    end)

    it("words are bytes", in_time(function()
        local all = {}
        for c = 0, 255 do all[#all + 1] = string.char(c) end
        all = table.concat(all)
        local stream = connect()
        assert.equal("+OK", ask(stream, "SET", all, all:rep(5000)))
        assert.equal("$1280000", ask(stream, "GET", all))
        assert.is_true(stream:read_exactly(1280002) == all:rep(5000) .. "\r\n")
        assert.equal(":1", ask(stream, "HSET", "h", all, all))
        assert.equal("$256", ask(stream, "HGET", "h", all))
        stream:close()
    end))

    it("inline requests", in_time(function()
        local stream = connect()
        stream:write 'set a "x \\"y\\" \\x00"\r\n\r\n  get a\nset b \'it\\\'s\'\nget b\n'
        assert.equal('+OK\r\n$7\r\nx "y" \0\r\n+OK\r\n$4\r\nit\'s\r\n', stream:read_exactly(33))
        stream:write 'set "a\n'
        assert.equal("-ERR Protocol error: unbalanced quotes in request\r\n", stream:read_all())
        stream:close()
    end))

    it("a request may come byte by byte", in_time(function()
        local stream = connect()
        for c in (request("SET", "a", "hello") .. request("GET", "a")):gmatch "." do
            stream:write(c)
            stream:drain()
            neap.sleep(0)
        end
        assert.equal("+OK\r\n$5\r\nhello\r\n", stream:read_exactly(16))
        stream:close()
    end))

    it("bytes that are no request end the connection, with a reason", in_time(function()
        for bytes, problem in pairs {
            ["*1\r\nping\r\n"] = "expected '$', got 'p'",
            ["*x\r\n"] = "invalid multibulk length",
            ["*9999999\r\n"] = "invalid multibulk length",
            ["*1\r\n$-5\r\n"] = "invalid bulk length",
            ["*1\r\n$999999999\r\n"] = "invalid bulk length",
            [("x"):rep(70000)] = "too big inline request",
        } do
            local stream = connect()
            stream:write(request "PING", bytes)
            assert.equal("+PONG\r\n-ERR Protocol error: " .. problem .. "\r\n", stream:read_all())
            stream:close()
        end
        assert.equal("PONG", cli "ping")
    end))

    it("pipelined requests are answered in order, also if the replies are much", in_time(function()
        local stream = connect()
        ask(stream, "SET", "big", ("x"):rep(100000))
        local writer = neap.spawn(function()
            for i = 1, 300 do stream:write(request("GET", "big"), request("ECHO", tostring(i))) end
        end)
        for i = 1, 300 do
            assert.equal(100011, #stream:read_exactly(100011))
            line(stream)
            assert.equal(tostring(i), line(stream))
        end
        writer:await()
        stream:close()
    end))
end)

describe("transactions of redis_server.lua", function()
    before_each(function() start() end)

    it("EXEC does what was queued, and goes on after a failure", function()
        dialogue {
            "multi", "OK",
            "set a 1", "QUEUED",
            "lpush a x", "QUEUED",
            "incr a", "QUEUED",
            "exec", "1) OK\n2) " .. wrong_kind .. "\n3) (integer) 2",
            "exec", "(error) ERR EXEC without MULTI",
            "multi", "OK",
            "multi", "(error) ERR MULTI calls can not be nested",
            "discard", "OK",
            "discard", "(error) ERR DISCARD without MULTI",
        }
    end)

    it("EXEC does nothing if a request was refused when it was queued", function()
        dialogue {
            "multi", "OK",
            "set a 1", "QUEUED",
            "nonsense", "(error) ERR unknown command 'nonsense'",
            "exec", "(error) EXECABORT Transaction discarded because of previous errors.",
            "exists a", "(integer) 0",
        }
    end)

    it("EXEC does nothing if a watched key was changed by another client", in_time(function()
        local one, other = connect(), connect()
        for _, change in ipairs { "SET", "APPEND", "FLUSHALL" } do
            assert.equal("+OK", ask(one, "WATCH", "a", "b"))
            assert.equal("+OK", ask(one, "MULTI"))
            assert.equal("+QUEUED", ask(one, "SET", "c", "1"))
            if change == "FLUSHALL" then ask(other, change) else ask(other, change, "b", "x") end
            assert.equal("*-1", ask(one, "EXEC"))
        end
        ask(one, "WATCH", "a")
        ask(other, "SET", "a", "x")
        assert.equal("+OK", ask(one, "UNWATCH"))
        ask(one, "MULTI")
        ask(one, "PING")
        assert.equal("*1", ask(one, "EXEC"))
        one:close()
        other:close()
    end))

    it("who waits for a list gets what a transaction has left", in_time(function()
        local one, other = connect(), connect()
        one:write(request("BLPOP", "l", "0"))
        process.await("the waiting client", function() return ask(other, "CLIENT", "ID") and one:unsent() == 0 end)
        other:write(request "MULTI", request("RPUSH", "l", "a", "b"), request("LPOP", "l"), request "EXEC")
        assert.equal("*2\r\n$1\r\nl\r\n$1\r\nb\r\n", one:read_exactly(18))
        one:close()
        other:close()
    end))
end)

describe("waiting for lists", function()
    before_each(function() start() end)

    it("BLPOP and BRPOP take what is there, or give up in time", function()
        local text = cli("rpush l a b", "blpop none l 1", "brpop l 0", "blpop none 0.01", "blpop l x")
        assert.matches('^%(integer%) 2\n1%) "l"\n2%) "a"\n1%) "l"\n2%) "b"\n%(nil%)', text)
        assert.matches("ERR timeout is not a float or out of range", text)
    end)

    it("the first who waits is the first to get", in_time(function()
        local waiting, pusher = {}, connect()
        for i = 1, 3 do
            waiting[i] = connect()
            waiting[i]:write(request "PING", request("BLPOP", "x", "y", "0"))
            assert.equal("+PONG", line(waiting[i])) -- is sent when it begins to wait
        end
        assert.equal(":2", ask(pusher, "RPUSH", "y", "1", "2"))
        assert.equal(":1", ask(pusher, "RPUSH", "x", "3"))
        for i = 1, 3 do
            local expected = ("*2\r\n$1\r\n%s\r\n$1\r\n%d\r\n"):format(i < 3 and "y" or "x", i)
            assert.equal(expected, waiting[i]:read_exactly(18))
            waiting[i]:close()
        end
        assert.equal(":0", ask(pusher, "DBSIZE"))
        pusher:close()
    end))

    it("a client that has gone gets nothing", in_time(function()
        local one, pusher = connect(), connect()
        one:write(request "PING", request("BLPOP", "x", "0"))
        line(one)
        one:close()
        local function count()
            pusher:write(request("CLIENT", "LIST"))
            return select(2, pusher:read_exactly(tonumber(line(pusher):sub(2)) + 2):gsub("id=", ""))
        end
        while count() > 1 do neap.sleep(0.001) end
        assert.equal(":1", ask(pusher, "RPUSH", "x", "1"))
        assert.equal(":1", ask(pusher, "LLEN", "x"))
        pusher:close()
    end))
end)

describe("channels of redis_server.lua", function()
    before_each(function() start() end)

    local function subscribe(stream, ...)
        stream:write(request(...))
        stream:read_until ":1\r\n"
    end

    it("redis-cli subscribes to channels and patterns", function()
        local child = process.start { "redis-cli", "--no-raw", "-s", address, "PSUBSCRIBE", "new[sz].*" }
        process.await("the subscription", function() return cli "pubsub numpat" == "(integer) 1" end)
        dialogue {
            "publish news.it hello", "(integer) 1",
            "publish old x", "(integer) 0",
            "pubsub channels", "(empty array)",
        }
        local expected = '1) "pmessage"\n2) "new[sz].*"\n3) "news.it"\n4) "hello"\n'
        process.await("the message", function() return child:out():find(expected, 1, true) end)
        child:dispose()
        process.await("the end", function() return cli "pubsub numpat" == "(integer) 0" end)
    end)

    it("whoever has subscribed gets what is published and may do little else", in_time(function()
        local one, two, other = connect(), connect(), connect()
        subscribe(one, "SUBSCRIBE", "c")
        subscribe(two, "PSUBSCRIBE", "*")
        assert.equal(":2", ask(other, "PUBLISH", "c", "hi"))
        assert.equal("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", one:read_exactly(32))
        assert.equal("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$2\r\nhi\r\n", two:read_exactly(40))
        assert.matches("^%-ERR Can't execute 'get'", ask(one, "GET", "a"))
        one:write(request "PING")
        assert.equal("*2\r\n$4\r\npong\r\n$0\r\n\r\n", one:read_exactly(20))
        one:write(request "UNSUBSCRIBE")
        assert.equal("*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n", one:read_exactly(33))
        assert.equal("$-1", ask(one, "GET", "a"))
        assert.equal(":1", ask(other, "PUBLISH", "c", "hi"))
        one:close()
        two:close()
        other:close()
    end))

    it("a subscriber that does not read is dropped", in_time(function()
        local slow, other = connect(), connect()
        subscribe(slow, "SUBSCRIBE", "c")
        local text, n = ("x"):rep(1024 * 1024), 0
        while ask(other, "PUBLISH", "c", text) == ":1" do
            n = n + 1
            assert.is_true(n < 100)
        end
        assert.is_true(n > 30)
        other:close()
        slow:abort()
    end))
end)

describe("the log of redis_server.lua", function()
    local log

    before_each(function() log = dir .. "/log" end)

    it("has every write that was acknowledged before a kill", in_time(function()
        start("--log", log, "--sync", "always")
        local stream = connect()
        local writer = neap.spawn(function()
            for i = 1, 20000 do
                if not stream:write(request("RPUSH", "l", tostring(i))) then return end
            end
        end)
        local acknowledged = 0
        while acknowledged < 1000 and line(stream) do acknowledged = acknowledged + 1 end
        server:signal "KILL"
        while line(stream) do acknowledged = acknowledged + 1 end
        writer:await()
        stream:abort()
        server:wait()
        server:dispose()
        start("--log", log)
        stream = connect()
        local n = tonumber(ask(stream, "LLEN", "l"):sub(2))
        assert.is_true(n >= acknowledged and acknowledged >= 1000)
        stream:write(request("LRANGE", "l", "0", "-1"))
        line(stream)
        for i = 1, n do
            line(stream)
            assert.equal(tostring(i), line(stream))
        end
        stream:close()
    end))

    it("brings back all kinds, databases and deadlines", function()
        start("--log", log, "--sync", "no")
        cli([[set "a\x00" "b\r\n"]], "rpush l 1 2 3", "hset h f 1", "setex e 1000 x", "set gone x px 1", "select 3",
            "set n 5", "multi", "incr n", "select 4", "set m 1", "exec", "lpop none", "set d 1", "expire d 1000",
            "persist d", "set p 1 px 20", "incr p")
        process.await("the end of p", function() return cli("select 4", "exists p") == "OK\n(integer) 0" end)
        assert.equal(0, (stop()))
        start("--log", log)
        dialogue {
            [[get "a\x00"]], [["b\r\n"]],
            "lrange l 0 -1", '1) "1"\n2) "2"\n3) "3"',
            "hget h f", '"1"',
            "select 3", "OK",
            "get n", '"6"',
            "select 4", "OK",
            "get m", '"1"',
            "ttl d", "(integer) -1",
            "exists p", "(integer) 0",
        }
        assert.matches("^%(integer%) %d+$", cli "ttl e")
        process.await("the end of gone", function() return cli "exists gone" == "(integer) 0" end)
    end)

    it("is read up to its last whole request", function()
        local whole = request("SET", "a", "1")
        process.write_file(log, whole .. request("SET", "b", "2"):sub(1, -4))
        start("--log", log)
        dialogue { "get a", '"1"', "get b", "(nil)", "SET c 3", "OK" }
        local code, err = stop()
        assert.equal(0, code)
        assert.matches("ended in the middle of a request: 24 bytes are dropped", err)
        start("--log", log)
        dialogue { "mget a b c", '1) "1"\n2) (nil)\n3) "3"' }
        assert.equal(whole .. request("SELECT", "0") .. request("SET", "c", "3"), process.read_file(log))
    end)

    it("a transaction that is cut short was never done", function()
        process.write_file(log, request("SET", "a", "1") .. request "MULTI" .. request("SET", "a", "2"))
        start("--log", log)
        dialogue { "get a", '"1"' }
        assert.matches("are dropped", select(2, stop()))
    end)

    it("a file that is no log is refused and stays", function()
        process.write_file(log, "*1\r\nnonsense\r\n")
        local result = process.run { helper.command, script, "--bind", address, "--log", log }
        assert.equal(1, result.code)
        assert.matches("cannot read .*expected '%$', got 'n'", result.err)
        assert.equal("*1\r\nnonsense\r\n", process.read_file(log))
    end)

    it("BGREWRITEAOF leaves what is needed, and goes on", in_time(function()
        start("--log", log, "--sync", "always")
        local stream = connect()
        for i = 1, 200 do
            ask(stream, "INCR", "n")
            ask(stream, "RPUSH", "l", tostring(i))
        end
        ask(stream, "SETEX", "e", "1000", "x")
        local before = #process.read_file(log)
        stream:write(request "INCR", request "BGREWRITEAOF", request("INCR", "n"))
        line(stream)
        assert.matches("^%+Background", line(stream))
        assert.equal(":201", line(stream))
        while #process.read_file(log) > before / 2 do neap.sleep(0.001) end
        assert.equal(":202", ask(stream, "INCR", "n"))
        stream:close()
        stop "KILL"
        start("--log", log)
        dialogue { "get n", '"202"', "llen l", "(integer) 200", "lindex l 199", '"200"' }
        assert.matches("^%(integer%) %d+$", cli "ttl e")
    end))

    it("on a full disk writes are refused, and taken again when there is room", in_time(function()
        address = dir .. "/redis"
        server = process.start { "sh", "-c", "trap '' XFSZ; ulimit -S -f 8; exec \"$@\"", "sh", helper.command, script,
            "--bind", address, "--log", log }
        server:await_line "^listening on ([^\n]+)\n"
        local stream = connect()
        local value = ("x"):rep(3000)
        assert.equal("+OK", ask(stream, "SET", "a", value))
        assert.equal("+OK", ask(stream, "SET", "b", value)) -- does not fit any more
        local n = 0
        while ask(stream, "INCR", "n"):find "^:" do
            n = n + 1
            neap.sleep(0.01)
        end
        assert.matches("^%-MISCONF", ask(stream, "LPUSH", "l", "x"))
        assert.equal("$3000", ask(stream, "GET", "a"))
        line(stream)
        assert.equal(0, process.run({ "prlimit", "--pid", tostring(server.pid), "--fsize=unlimited:" }).code)
        while ask(stream, "SET", "c", "1") ~= "+OK" do neap.sleep(0.01) end
        stream:close()
        local code, err = stop()
        assert.equal(0, code)
        assert.matches("^cannot write [^\n]*file too large\n$", err)
        start("--log", log)
        dialogue { "strlen b", "(integer) 3000", "get n", n > 0 and '"' .. n .. '"' or "(nil)", "get c", '"1"' }
    end))
end)

describe("the life of redis_server.lua", function()
    it("SIGTERM ends it in order, also with clients that do nothing or wait", in_time(function()
        local log = dir .. "/log"
        start("--log", log)
        local idle, waiting, busy = connect(), connect(), connect()
        ask(idle, "PING")
        waiting:write(request "PING", request("BLPOP", "x", "0"))
        line(waiting)
        assert.equal("+OK", ask(busy, "SET", "a", "1"))
        local code, err = stop()
        assert.equal("", err)
        assert.equal(0, code)
        assert.is_nil(line(idle))
        assert.is_nil(line(busy))
        for _, stream in ipairs { idle, waiting, busy } do stream:close() end
        assert.equal(request("SELECT", "0") .. request("SET", "a", "1"), process.read_file(log))
    end))

    it("SHUTDOWN does the same", function()
        start()
        process.run { "redis-cli", "-s", address, "shutdown" }
        assert.equal(0, server:wait())
    end)

    it("many clients at once", in_time(function()
        start()
        neap.group(function(group)
            for i = 1, 300 do
                group:spawn(function()
                    local stream = connect()
                    for _ = 1, 5 do ask(stream, "INCR", "n") end
                    assert.equal(":1", ask(stream, "INCR", "own" .. i))
                    stream:close()
                end)
            end
        end)
        assert.equal('"1500"', cli "get n")
    end))

    it("redis-benchmark runs", function()
        address = "127.0.0.1:0"
        server = process.start { helper.command, script, "--bind", address }
        local port = server:await_line "^listening on [%d.]+:(%d+)\n"
        local result = process.run { "redis-benchmark", "-p", port, "-P", "16", "-n", "2000", "-q", "-t",
            "ping,set,get,incr,lpush,rpush,lpop,rpop,hset,lrange,mset" }
        assert.equal(0, result.code, result.err)
        assert.equal(16, select(2, result.out:gsub("requests per second", "")))
        assert.is_nil(result.out:find "[Ee]rror")
        assert.equal("", result.err)
    end)

    it("options that are not understood are told", function()
        for _, words in ipairs { { "--nonsense" }, { "--sync", "never" }, { "--log" }, { "--max-clients", "x" } } do
            local result = process.run { helper.command, script, helper.unpack(words) }
            assert.equal(2, result.code)
            assert.matches("^redis_server: .*\nusage: ", result.err)
        end
    end)
end)
