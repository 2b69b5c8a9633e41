-- A crawler: follows the links of a site from page to page, each page once, twenty connections at a time.
--   neap scripts/crawler.lua [host:port/path]
-- Without an argument it serves a small site itself, on three ports of this machine, and crawls that.
local neap = require "neap"

local LIMIT = 20

-- --- A site to crawl: page n links to a few others, on any of the servers -----------------------

local PAGES = 300

local function page(addresses, n)
    local links = {}
    for _, to in ipairs { 2 * n, 2 * n + 1, n + 7 } do
        if to <= PAGES then
            links[#links + 1] = ('<a href="http://%s/%d">'):format(addresses[to % #addresses + 1], to)
        end
    end
    return table.concat(links, "\n")
end

local function answer(conn, addresses)
    local request = conn:recv(4096)
    local n = request and tonumber(request:match "^GET /(%d+)")
    neap.sleep(0.001 * (n or 0) % 0.005) -- some pages take longer
    if n and n <= PAGES then
        conn:sendall("HTTP/1.0 200 OK\r\n\r\n" .. page(addresses, n))
    else
        conn:sendall "HTTP/1.0 404 Not Found\r\n\r\n"
    end
    conn:close()
end

local function serve(listener, addresses)
    while true do
        local conn = listener:accept()
        if not conn then
            return
        end
        neap.spawn { answer, conn, addresses, owns = { conn } }
    end
end

local function make_site(count)
    local listeners, addresses = {}, {}
    for i = 1, count do
        listeners[i] = neap.tcp()
        assert(listeners[i]:bind "127.0.0.1:0")
        assert(listeners[i]:listen())
        addresses[i] = listeners[i]:getsockname()
        neap.spawn(serve, listeners[i], addresses)
    end
    return addresses[1] .. "/1"
end

-- --- The crawler --------------------------------------------------------------------------------

local function fetch(url)
    local address, path = url:match "^([^/]+)(/.*)$"
    local conn, parts = neap.tcp(), {}
    local ok, err = conn:connect(address)
    if ok then
        ok, err = conn:sendall("GET " .. path .. " HTTP/1.0\r\nHost: " .. address .. "\r\n\r\n")
    end
    local data = ok
    while data do
        data, err = conn:recv(65536)
        parts[#parts + 1] = data
    end
    conn:close()
    return not err and table.concat(parts) or nil, err
end

-- Visits everything that can be reached; answers the pages and failures by address, and the most connections at a time.
local function crawl(start)
    local limiter = neap.limiter(LIMIT)
    local seen, failures, pages, most = {}, {}, 0, 0

    neap.group(function(group)
        local function visit(url)
            if seen[url] then
                return
            end
            seen[url] = true
            group:spawn(function()
                local text, err = limiter:with(function()
                    most = math.max(most, limiter:borrowed())
                    return neap.move_on(10, fetch, url)
                end)
                if not text or not text:find "^HTTP/1.%d 200" then
                    failures[url] = tostring(err or text and text:match "^[^\r\n]*" or "timeout")
                    return
                end
                pages = pages + 1
                for link in text:gmatch 'href="http://([^"]+)"' do
                    visit(link)
                end
            end)
        end
        visit(start)
    end)
    return pages, failures, most
end

local pages, failures, most = crawl(arg and arg[1] or make_site(3))
for url, err in pairs(failures) do
    print(url, err)
end
print(("%d pages, %d connections at a time"):format(pages, most))
