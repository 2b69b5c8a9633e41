-- The smaller network programs under scripts/ as a user runs them, with clients and servers that are not ours.
local helper = require "support.helper"
local process = require "support.process"
local contains = helper.contains

local dir = helper.source_dir .. "/scripts/"

-- What a program has complained of, without what a busy machine makes slow.
local function complaints(text)
    local list = {}
    for line in text:gmatch "[^\n]*\n" do
        if not (line:find "^neap: slow: " or line:find "^neap: shutdown waits " or line:find "^stack traceback:"
            or line:find "^\t") then
            list[#list + 1] = line
        end
    end
    return table.concat(list)
end

-- Runs a program to its end; err are its complaints.
local function finish(argv, options)
    local result = process.run(argv, options)
    result.err = complaints(result.err)
    return result
end

local function run(script, args, options)
    return finish({ helper.command, dir .. script, helper.unpack(args) }, options)
end

-- `finally` keeps one function: this keeps all of a test, of which the last comes first.
local ends = {}
local function at_end(fn)
    ends[#ends + 1] = fn
    finally(function()
        while #ends > 0 do table.remove(ends)() end
    end)
end

local function start(script, args, options)
    local child = process.start({ helper.command, dir .. script, helper.unpack(args) }, options)
    at_end(function() child:dispose() end)
    return child
end

local function serve(script, args)
    local child = start(script, args)
    return child, child:await_line "^listening on ([^\n]+)\n"
end

-- A Python program; what it prints is the answer.
local function python(text, ...)
    local result = process.run { "python3", "-c", text, ... }
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return result.out
end

local function new_dir()
    local path = process.temp_dir()
    at_end(function() process.remove(path) end)
    return path
end

local function stop(child)
    child:signal "TERM"
    assert.equal(0, child:wait())
    assert.equal("", complaints(child:err()))
    return child:out()
end

for _, script in ipairs { "echo_client.lua", "port_scanner.lua", "static_server.lua", "tail.lua" } do
    it(script .. " --help says how it is used, and so does a mistake", function()
        local result = run(script, { "--help" })
        contains("usage: neap scripts/" .. script, result.out)
        assert.equal("", result.err)
        assert.equal(0, result.code)
        result = run(script, { "--no-such-option" })
        contains("usage: neap scripts/" .. script, result.err)
        assert.equal("", result.out)
        assert.equal(2, result.code)
    end)
end

describe("echo_client.lua", function()
    local lines = {}
    for i = 1, 100000 do
        lines[i] = "line " .. i .. "\n"
    end
    local text = table.concat(lines) -- more than all buffers on the way take together

    it("sends its input and prints what comes back, both at once", function()
        local _, address = serve("echo_server.lua", { "127.0.0.1:0" })
        local result = run("echo_client.lua", { address }, { input = text })
        assert.equal("", result.err)
        assert.is_true(result.out == text)
        assert.equal(0, result.code)
    end)

    it("looks a name up", function()
        local _, address = serve("echo_server.lua", { "127.0.0.1:0" })
        local result = run("echo_client.lua", { "localhost:" .. address:match "%d+$" }, { input = "hello\n" })
        assert.equal("hello\n", result.out)
        assert.equal(0, result.code)
    end)

    -- A server for one client, in Python: its body has the connection in `c` and the path of the socket in `path`.
    local function with_server(body, fn)
        local path = new_dir() .. "/socket"
        local server = process.start { "python3", "-c", [[
import socket, struct, sys
path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("listening", flush=True)
c = listener.accept()[0]
]] .. body, path }
        at_end(function()
            server:dispose()
            process.remove(path)
        end)
        server:await_line "^listening"
        fn(path)
        assert.equal(0, server:wait())
        assert.equal("", server:err())
    end

    it("tells the end of its input, and still prints the answer to that", function()
        with_server([[
n = 0
while True:
    data = c.recv(65536)
    if not data: break
    n += len(data)
c.sendall(b"%d bytes\n" % n)
]], function(path)
            local result = run("echo_client.lua", { path }, { input = text })
            assert.equal(#text .. " bytes\n", result.out)
            assert.equal(0, result.code)
        end)
    end)

    it("ends when the server hangs up, however much input is left", function()
        with_server([[
c.sendall(b"goodbye\n")
c.shutdown(socket.SHUT_WR)
while c.recv(65536): pass
]], function(path)
            local fifo = new_dir() .. "/fifo" -- open for writing by its reader itself: it has no end
            local result = finish { "sh", "-c", 'mkfifo "$1" && exec 3<>"$1" && shift && exec "$@" <&3', "sh",
                fifo, helper.command, dir .. "echo_client.lua", path }
            assert.equal("goodbye\n", result.out)
            assert.equal(0, result.code)
        end)
    end)

    it("a server that is not there is named with each address that was tried", function()
        local result = run("echo_client.lua", { "127.0.0.1:1" }, { input = "hello\n" })
        assert.equal(1, result.code)
        assert.matches("^echo_client: connect 127%.0%.0%.1:1: .*[Cc]onnection refused\n$", result.err)
        result = run("echo_client.lua", { "no-such-host.invalid:1" })
        assert.equal(1, result.code)
        contains("no-such-host.invalid", result.err)
    end)
end)

describe("port_scanner.lua", function()
    local function port_of(address)
        return tonumber(address:match "%d+$")
    end

    -- Three addresses with ports in one hundred, in their order.
    local function servers()
        local list = {}
        for i = 1, 3 do
            local _, address = serve("echo_server.lua", { "127.0.0.1:0" })
            list[i] = address
        end
        table.sort(list, function(a, b) return port_of(a) < port_of(b) end)
        return list
    end

    local function sorted_lines(text)
        local list = {}
        for line in text:gmatch "[^\n]+" do
            list[#list + 1] = line
        end
        table.sort(list, function(a, b) return port_of(a) < port_of(b) end)
        return list
    end

    for _, limit in ipairs { 1, 7, 500 } do
        it("finds the ports that are open, " .. limit .. " at a time", function()
            local list = servers()
            local args = { "--limit", tostring(limit), "127.0.0.1" }
            for _, address in ipairs(list) do -- other programs may listen in between
                local port = port_of(address)
                args[#args + 1] = tostring(port)
            end
            args[#args + 1] = "1-200"
            local result = run("port_scanner.lua", args)
            assert.equal(0, result.code)
            local found = {}
            for _, line in ipairs(sorted_lines(result.out)) do
                if port_of(line) > 200 then found[#found + 1] = line end
            end
            assert.same(list, found)
            local open, closed, silent = result.err:match "^127%.0%.0%.1: (%d+) open, (%d+) closed, (%d+) without"
            assert.equal(203, open + closed + silent)
        end)
    end

    it("a port is not open because the attempt reached itself", function()
        -- In a network where all attempts come from the one port that is scanned.
        local script = ([[
ip link set lo up && echo 40000 40000 >/proc/sys/net/ipv4/ip_local_port_range || exit 77
exec %s %s 127.0.0.1 40000
]]):format(process.quote(helper.command), process.quote(dir .. "port_scanner.lua"))
        local result = finish { "unshare", "--user", "--map-root-user", "--net", "sh", "-c", script }
        if result.code == 77 or result.err:find "unshare" then
            pending("needs a network namespace of its own, which this machine refuses: " .. result.err)
            return
        end
        assert.equal("", result.out)
        contains("0 open, 1 closed", result.err)
    end)

    it("an address from which nothing comes is given up after the timeout", function()
        -- The queue of a listener that takes nobody is full after two.
        local listener = process.start { "python3", "-c", [[
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(0)
clients = [socket.socket() for _ in range(4)]
for c in clients:
    c.setblocking(False)
    c.connect_ex(s.getsockname())
time.sleep(0.2)
print("listening on %s:%d" % s.getsockname(), flush=True)
time.sleep(1000)
]] }
        at_end(function() listener:dispose() end)
        local port = listener:await_line "^listening on [^\n]+:(%d+)\n"
        local result = run("port_scanner.lua", { "--timeout", "0.1", "127.0.0.1", port })
        assert.equal("", result.out)
        assert.equal("127.0.0.1: 0 open, 0 closed, 1 without an answer\n", result.err)
    end)

    it("too few descriptors are a failure that says so, and no closed port", function()
        local result = finish { "sh", "-c", "ulimit -n 20; exec " .. process.quote(helper.command) .. " "
            .. process.quote(dir .. "port_scanner.lua") .. " --limit 100 127.0.0.1 1-500" }
        assert.equal(1, result.code)
        assert.matches("^port_scanner: [^\n]*too many open files\n$", result.err)
    end)

    it("ports that are none, and hosts that are unknown, are refused", function()
        for _, ports in ipairs { "0", "65536", "2-1", "x", "1-", "-1" } do
            assert.equal(2, run("port_scanner.lua", { "127.0.0.1", ports }).code)
        end
        assert.equal(2, run("port_scanner.lua", { "--limit", "0.5", "127.0.0.1", "1" }).code)
        local result = run("port_scanner.lua", { "no-such-host.invalid", "1" })
        assert.equal(1, result.code)
        contains("no-such-host.invalid", result.err)
    end)
end)

describe("static_server.lua", function()
    local HTTP = [[
import hashlib, http.client, os, socket, sys, threading
address = sys.argv[1]
host, port = address.rsplit(":", 1)

def request(path, method="GET"):
    c = http.client.HTTPConnection(host, int(port), timeout=60)
    c.request(method, path)
    r = c.getresponse()
    body = r.read()
    c.close()
    return r.status, r.headers, body

def raw(data):
    s = socket.create_connection((host, int(port)), timeout=60)
    s.sendall(data)
    answer = b""
    while True:
        piece = s.recv(65536)
        if not piece: break
        answer += piece
    s.close()
    return answer.split(b"\r\n")[0].decode()
]]

    -- A directory with files, beside a secret; the server of it.
    local function site(args)
        local top = new_dir()
        os.execute("mkdir -p " .. top .. "/site/sub " .. top .. "/site-2")
        process.write_file(top .. "/secret", "secret")
        process.write_file(top .. "/site-2/secret", "secret")
        process.write_file(top .. "/site/empty", "")
        process.write_file(top .. "/site/hello.html", "<p>hello</p>\n")
        process.write_file(top .. "/site/sub/a file%.txt", "with a blank")
        os.execute("head -c 5000000 /dev/urandom >" .. top .. "/site/large; truncate -s 50000000 " .. top
            .. "/site/huge; mkfifo " .. top .. "/site/fifo; ln -s "
            .. top .. "/secret " .. top .. "/site/out; ln -s hello.html " .. top .. "/site/in; ln -s loop "
            .. top .. "/site/loop")
        local list = { top .. "/site", "127.0.0.1:0" }
        for i, value in ipairs(args or {}) do table.insert(list, i, value) end
        local child, address = serve("static_server.lua", list)
        return child, address, top .. "/site"
    end

    it("sends files as they are, with their length and type", function()
        local child, address, root = site()
        python(HTTP .. [[
root = sys.argv[2]
for path, name, kind in (("/hello.html", "hello.html", "text/html"), ("/empty", "empty", "application/octet-stream"),
        ("/large?query", "large", "application/octet-stream"),
        ("/sub/a%20file%25.txt", "sub/a file%.txt", "text/plain"),
        ("/in", "hello.html", "application/octet-stream"), ("/sub/../hello.html", "hello.html", "text/html")):
    want = open(root + "/" + name, "rb").read()
    status, headers, body = request(path)
    assert (status, headers["Content-Type"]) == (200, kind), (path, status, headers)
    assert headers["Content-Length"] == str(len(want)) and body == want, path
    status, headers, body = request(path, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(want)), b""), path
]], address, root)
        assert.matches("\n12 requests, 5000051 bytes\n$", stop(child))
    end)

    it("refuses what leads out, directories, what is no file or not there, and says why", function()
        local _, address = site()
        python(HTTP .. [[
for path, status in (("/../secret", 404), ("/sub/../../secret", 404), ("/%2e%2e/secret", 404), ("/..%2fsecret", 404),
        ("/../site-2/secret", 404), ("/out", 404), ("//etc/passwd", 404), ("/nothing", 404), ("/hello.html/x", 404),
        ("/loop", 404), ("/" + "x" * 300, 404), ("/", 403), ("/sub", 403), ("/sub/", 403), ("/..", 404), ("/fifo", 403),
        ("/../site", 403), ("/hello.html%00.txt", 400)):
    got, _, body = request(path)
    assert got == status and b"secret" not in body and body.startswith(b"%d " % got), (path, got, body)
]], address)
    end)

    it("refuses what is no request, too, and serves the next", function()
        local child, address = site { "--timeout", "0.2" }
        python(HTTP .. [[
for data, answer in ((b"\r\n\r\n", "HTTP/1.0 400 Bad Request"),
        (b"GET hello.html HTTP/1.0\r\n\r\n", "HTTP/1.0 400 Bad Request"),
        (b"POST / HTTP/1.1\r\n\r\nbody", "HTTP/1.0 501 Not Implemented"), (b"\0\1\2\n\n", "HTTP/1.0 400 Bad Request"),
        (b"GET /" + b"x" * 200000, "HTTP/1.0 431 Request Header Fields Too Large"),
        (b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 2000 + b"\r\n", "HTTP/1.0 431 Request Header Fields Too Large"),
        (b"GET /hello.html HTTP/1.0\r\n", "HTTP/1.0 408 Request Timeout"),
        (b"GET /hello.html HTTP/1.0\n\n", "HTTP/1.0 200 OK")):
    assert raw(data) == answer, (data, raw(data))
]], address)
        assert.equal("", complaints(child:err()))
    end)

    it("a hundred clients at once get each all, also beside one that does not read", function()
        local child, address, root = site { "--quiet" }
        python(HTTP .. [[
want = hashlib.sha256(open(sys.argv[2] + "/large", "rb").read()).digest()
lazy = socket.create_connection((host, int(port)))
lazy.sendall(b"GET /large HTTP/1.0\r\n\r\n")
bad = []
def client():
    status, _, body = request("/large")
    if status != 200 or hashlib.sha256(body).digest() != want: bad.append(status)
threads = [threading.Thread(target=client) for _ in range(100)]
for t in threads: t.start()
for t in threads: t.join()
assert not bad, bad
]], address, root)
        contains(" requests, ", stop(child))
    end)

    it("a client that goes in the middle harms nobody and leaves nothing open", function()
        local child, address = site { "--quiet" }
        local before = child:descriptors()
        python(HTTP .. [[
for i in range(50):
    s = socket.create_connection((host, int(port)))
    s.sendall(b"GET /large HTTP/1.0\r\n\r\n")
    s.recv(1000)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
assert request("/hello.html")[0] == 200
]], address)
        process.await("descriptors", function() return child:descriptors() <= before end)
        assert.equal("", complaints(child:err()))
    end)

    it("SIGTERM lets a file that is under way end", function()
        local child, address = site { "--quiet" }
        local client = process.start { "python3", "-c", HTTP .. [[
import time
s = socket.create_connection((host, int(port)), timeout=60)
s.sendall(b"GET /huge HTTP/1.0\r\n\r\n") # more than all buffers take
got = len(s.recv(1000))
print("begun", flush=True)
while True:
    try: socket.create_connection((host, int(port))).close()
    except OSError: break
    time.sleep(0.01)
while True:
    data = s.recv(65536)
    if not data: break
    got += len(data)
print(got > 50000000, flush=True)
]], address }
        at_end(function()
            client:dispose()
            child:dispose()
        end)
        client:await_line "^begun\n"
        assert.matches("requests, 50000000 bytes\n$", stop(child))
        client:await_line "True\n$"
    end)

    it("what is no directory is refused at once", function()
        local result = run("static_server.lua", { dir .. "static_server.lua" })
        assert.equal(1, result.code)
        assert.equal("static_server: " .. dir .. "static_server.lua is no directory\n", result.err)
        result = run("static_server.lua", { dir .. "nowhere" })
        assert.equal(1, result.code)
        contains(dir .. "nowhere", result.err)
    end)
end)

describe("tail.lua", function()
    local function append(path, text)
        local file = assert(io.open(path, "ab"))
        file:write(text)
        file:close()
    end

    local function until_out(child, text)
        process.await("'" .. text .. "' from tail.lua", function()
            assert(not child:ended(), child:err())
            return child:out():find(text, 1, true)
        end)
    end

    it("prints the lines of several files after their names, whole ones only", function()
        local path = new_dir()
        append(path .. "/a", "one\ntwo\n")
        local child = start("tail.lua", { "--all", "a", "b" }, { dir = path })
        until_out(child, "a: one\na: two\n")
        append(path .. "/b", "half")
        append(path .. "/a", "three\n\n")
        until_out(child, "a: three\na: \n")
        append(path .. "/b", " a line\n")
        until_out(child, "b: half a line\n")
        assert.equal("a: one\na: two\na: three\na: \nb: half a line\n", stop(child))
    end)

    it("tells nothing that was there before, unless it is asked to", function()
        local path = new_dir()
        append(path .. "/a", "old\n")
        local child = start("tail.lua", { "a" }, { dir = path })
        process.await("a new line", function()
            append(path .. "/a", "new\n")
            return child:out() ~= ""
        end)
        assert.is_nil(stop(child):find "old")
    end)

    it("goes on with a file that was cut", function()
        local path = new_dir()
        append(path .. "/a", "the first, which is long\nand half")
        local child = start("tail.lua", { "--all", "a" }, { dir = path })
        until_out(child, "a: the first, which is long\n")
        process.write_file(path .. "/a", "short\n")
        until_out(child, "a: short\n")
        append(path .. "/a", "next\n")
        until_out(child, "a: next\n")
        assert.equal("a: the first, which is long\na: and half\na: short\na: next\n", stop(child))
    end)

    it("reads a file that was moved away to its end, and goes on with the one that takes its name", function()
        local path = new_dir()
        append(path .. "/a", "1\n")
        local child = start("tail.lua", { "--all", "a" }, { dir = path })
        until_out(child, "a: 1\n")
        local want = { "a: 1\n" }
        for i = 2, 20 do
            append(path .. "/a", "last of " .. i - 1 .. "\n")
            os.rename(path .. "/a", path .. "/a." .. i)
            append(path .. "/a", i .. "\n")
            want[#want + 1] = "a: last of " .. i - 1 .. "\na: " .. i .. "\n"
            until_out(child, "a: " .. i .. "\n")
        end
        assert.equal(table.concat(want), stop(child))
    end)

    it("waits for a file that is not there yet, and for one that was removed", function()
        local path = new_dir()
        local child = start("tail.lua", { "--all", "a" }, { dir = path })
        append(path .. "/a", "first\n")
        until_out(child, "a: first\n")
        os.remove(path .. "/a")
        append(path .. "/a", "second\n")
        until_out(child, "a: second\n")
        assert.equal("a: first\na: second\n", stop(child))
    end)

    it("a line without an end in sight comes in pieces", function()
        local path = new_dir()
        append(path .. "/a", ("x"):rep(200000) .. "\n")
        local child = start("tail.lua", { "--all", "a" }, { dir = path })
        process.await("all of it", function()
            return select(2, child:out():gsub("x", "")) == 200000
        end)
        assert.equal(200000, select(2, stop(child):gsub("x", "")))
    end)

    it("many files written to by many lose no line", function()
        local path = new_dir()
        local names = {}
        for i = 1, 20 do names[i] = "log" .. i end
        local child = start("tail.lua", { "--all", helper.unpack(names) }, { dir = path })
        process.run({ "sh", "-c", [[
for n in $(seq 20); do (for i in $(seq 500); do echo "line $i"; done >>log$n) & done; wait]] }, { dir = path })
        process.await("all lines", function()
            return select(2, child:out():gsub("\n", "")) == 20 * 500
        end)
        local last = {}
        for name, number in stop(child):gmatch "(log%d+): line (%d+)\n" do
            assert.equal((last[name] or 0) + 1, tonumber(number))
            last[name] = tonumber(number)
        end
    end)

    it("sends the lines to all who have connected; one that does not read misses some, and the others none", function()
        local path = new_dir()
        append(path .. "/a", "")
        local child = start("tail.lua", { "--listen", "127.0.0.1:0", "a" }, { dir = path })
        local address = child:await_line "^listening on ([^\n]+)\n"
        python([[
import socket, sys, threading
host, port = sys.argv[1].rsplit(":", 1)
def subscribe():
    s = socket.create_connection((host, int(port)), timeout=60)
    return s, s.makefile("r")
log = open(sys.argv[2], "a", buffering=1)
readers = [subscribe() for _ in range(3)]
lazy, lazy_file = subscribe()
def write(text):
    log.write(text + "\n")
# until all have been accepted
seen = [threading.Event() for _ in range(4)]
def await_hello(f, event):
    while f.readline() != "%s: hello\n" % "a": pass
    event.set()
threads = [threading.Thread(target=await_hello, args=(f, e)) for (_, f), e in zip(readers + [(lazy, lazy_file)], seen)]
for t in threads: t.start()
while not all(e.is_set() for e in seen):
    write("hello")
    for e in seen: e.wait(0.05)
for t in threads: t.join()

MUCH = 20000
lost = []
def listen(f):
    n = 0
    while n < MUCH:
        line = f.readline()
        if line.startswith("a: hello"): continue
        if not line.startswith("a: %d " % n):
            lost.append(line[:50])
            return
        n += 1
threads = [threading.Thread(target=listen, args=(f,)) for _, f in readers]
for t in threads: t.start()
for start in range(0, MUCH, 50):
    log.write("".join("%d %s\n" % (i, "x" * 1000) for i in range(start, start + 50)))
    log.flush()
for t in threads: t.join(60)
assert not lost, lost
missed = heard = 0
while not missed:
    write("hello")
    line = lazy_file.readline()
    if line.startswith("* "): missed = int(line.split()[1])
    elif not line.startswith("a: hello"): heard += 1
assert heard > 0 and heard + missed >= MUCH, (heard, missed)
]], address, path .. "/a")
        stop(child)
    end)

    it("ends when its directory goes, and says so", function()
        local path = new_dir()
        os.execute("mkdir " .. path .. "/sub")
        append(path .. "/sub/a", "here\n")
        local child = start("tail.lua", { "--all", "sub/a" }, { dir = path })
        until_out(child, "sub/a: here\n")
        process.remove(path .. "/sub")
        assert.equal(1, child:wait())
        assert.matches("^tail: [^\n]*sub/ cannot be watched any more: it is gone\n$", complaints(child:err()))
        local result = run("tail.lua", { path .. "/nowhere/a" })
        assert.equal(1, result.code)
        contains("/nowhere", result.err)
    end)
end)
