-- A server of files: GET and HEAD of HTTP/1.0, one request per connection. What leads out of its directory, also by a
-- link, is not there for it.
local USAGE = [[
usage: neap scripts/static_server.lua [options] DIRECTORY [LISTEN]
  DIRECTORY         whose files are sent; a directory in it is not listed
  LISTEN            HOST:PORT with a numeric host, or the path of a Unix socket (default 127.0.0.1:9527)
  --max N           connections at the same time (default 1000); more wait
  --timeout SECONDS until a client has to have asked (default 10)
  --grace SECONDS   that files under way have after SIGTERM or SIGINT (default 5)
  --quiet           no line for each request
]]
local neap = require "neap"
local fs = neap.fs

local HEAD_MAX = 8192 -- bytes of a request
local LINGER = 1 -- seconds that who is refused has to read why

local settings = { max = 1000, timeout = 10, grace = 5, quiet = false }
local words = {}
local root -- without links, with a slash at its end

local types = {
    css = "text/css", gif = "image/gif", html = "text/html", jpg = "image/jpeg", js = "text/javascript",
    json = "application/json", lua = "text/plain", md = "text/plain", pdf = "application/pdf", png = "image/png",
    svg = "image/svg+xml", txt = "text/plain",
}

local function complain(text)
    io.stderr:write("static_server: ", tostring(text), "\n")
    neap.exit(1)
end

local function read_arguments(args)
    local i = 1
    while args[i] do
        local name = args[i]:match "^%-%-(%l+)$"
        if name == "quiet" then
            settings.quiet = true
        elseif settings[name] then
            i = i + 1
            settings[name] = tonumber(args[i])
            if not settings[name] then return end
        elseif args[i]:find "^%-" then
            return
        else
            words[#words + 1] = args[i]
        end
        i = i + 1
    end
    return #words == 1 or #words == 2
end

-- Requests

-- The method and the path without its query, decoded; or nil and a status.
local function parse(head)
    local method, target = head:match "^(%u+) (/[^%s]*) HTTP/1%.[01]\r?\n"
    if not method then return nil, "400 Bad Request" end
    if method ~= "GET" and method ~= "HEAD" then return nil, "501 Not Implemented" end
    local path = target:match "^[^?#]*":gsub("%%(%x%x)", function(hex)
        return string.char(tonumber(hex, 16))
    end)
    if path:find "%z" then return nil, "400 Bad Request" end
    return method, path
end

local reasons = { ENOENT = "404 Not Found", ENOTDIR = "404 Not Found", ENAMETOOLONG = "404 Not Found",
    ELOOP = "404 Not Found", EACCES = "403 Forbidden", EPERM = "403 Forbidden" }

-- The open file and its size; or nil and a status. Where it lies is asked of the open file, because meanwhile its name
-- may have become another's.
local function open(path)
    local file, err = fs.open(root .. path)
    if not file then return nil, reasons[err.code] or "500 Internal Server Error" end
    local found = file:stat()
    local where = fs.readlink("/proc/self/fd/" .. file:fd())
    local status
    if not where or not found then
        status = "500 Internal Server Error"
    elseif where:sub(1, #root) ~= root and where .. "/" ~= root then
        status = "404 Not Found"
    elseif found.type ~= "file" then
        status = "403 Forbidden"
    end
    if not status then return file, found.size end
    file:close()
    return nil, status
end

-- Connections

local total = { requests = 0, bytes = 0 }

local function log(peer, what, status, bytes)
    total.requests = total.requests + 1
    total.bytes = total.bytes + bytes
    if settings.quiet then return end
    print(("%s %s: %s, %d bytes"):format(peer, (what:gsub("[%c\127-\255]", "?")), status, bytes))
    io.stdout:flush()
end

local function head_of(status, kind, size)
    return ("HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"):format(
        status, kind, size)
end

-- If something that was sent is not read when the connection is closed, the answer may be lost on its way.
local function refuse(stream, status)
    stream:write(head_of(status, "text/plain", #status + 1), status, "\n")
    stream:write_eof()
    neap.move_on(LINGER, function()
        while stream:read_some() do end
    end)
end

-- Answers how many bytes of it went.
local function send(stream, method, path, file, size)
    local kind = types[path:match "%.(%w+)$" or ""] or "application/octet-stream"
    assert(stream:write(head_of("200 OK", kind, size)))
    if method == "HEAD" then return 0 end
    assert(stream:sendfile(file:fd(), 0, size))
    assert(stream:drain())
    return size
end

local function serve(stream, peer)
    local head, err = neap.move_on(settings.timeout, stream.read_until, stream, { "\r\n\r\n", "\n\n" }, HEAD_MAX)
    if not head then
        local status = not err and "408 Request Timeout"
            or err.code == "limit" and "431 Request Header Fields Too Large"
        log(peer, "no request", status or tostring(err), 0)
        if status then refuse(stream, status) end
        return
    end
    local line = head:match "^[^\r\n]*"
    local method, path = parse(head)
    if not method then
        log(peer, line, path, 0)
        return refuse(stream, path)
    end
    local file, size = open(path)
    if not file then
        log(peer, line, size, 0)
        return refuse(stream, size)
    end
    local ok, sent = neap.pcall(send, stream, method, path, file, size)
    file:close()
    log(peer, line, ok and "200 OK" or tostring(sent), ok and sent or 0)
    if not ok then stream:abort() end -- the client is to know that it is not all
    if neap.is_cancelled(sent) then error(sent, 0) end
end

if not read_arguments(arg) then
    local help = arg[1] == "--help";
    (help and io.stdout or io.stderr):write(USAGE)
    neap.exit(help and 0 or 2)
end

local failure
root, failure = fs.realpath(words[1])
if not root then complain(failure) end
if fs.stat(root).type ~= "directory" then complain(words[1] .. " is no directory") end
root = root == "/" and root or root .. "/"

local server
server, failure = neap.serve(words[2] or "127.0.0.1:9527", serve, { max_connections = settings.max })
if not server then complain(failure) end
print("listening on " .. server:addresses()[1])
io.stdout:flush()
neap.wait_shutdown()
server:close { grace = settings.grace }
server:wait_closed()
print(("%d requests, %d bytes"):format(total.requests, total.bytes))
