-- Files: file objects with the formats of io, verbs on paths, walks over trees.
local neap = require "neap"
local helper = require "support.helper"
local in_real_loop, raises, fails, each = helper.in_real_loop, helper.raises, helper.fails, helper.each
local fs = neap.fs

-- Runs the body in a loop with a directory of its own.
local function in_dir(body)
    return in_real_loop(function(loop)
        local dir = assert(fs.mkdtemp())
        body(dir, loop)
        assert(fs.remove_tree(dir))
    end)
end

local function file_with(dir, text, mode)
    assert(fs.write(dir .. "/file", text))
    return assert(fs.open(dir .. "/file", mode or "r"))
end

describe("an open file", function()
    it("reads in the formats of io.read", in_dir(function(dir)
        local f = file_with(dir, "one\ntwo\n 12.5 0x1F,-7e1 rest\nand more")
        assert.equal("one", f:read())
        assert.equal("two\n", f:read("L"))
        assert.equal(12.5, f:read("n"))
        assert.equal(31, f:read("*n"))
        assert.equal(",", f:read(1))
        assert.equal(-70, f:read("n"))
        assert.equal(" rest", f:read("*l"))
        assert.equal("", f:read(0))
        assert.equal("and more", f:read("a"))
        assert.equal("", f:read("a"))
        assert.is_nil(f:read("l"))
        assert.is_nil(f:read(1))
        assert.is_nil(f:read(0))
        assert(f:close())
    end))

    it("reads the same as io does, whatever the sizes", in_dir(function(dir)
        local parts = {}
        for i = 1, 5000 do
            parts[i] = ("%d %s\n"):format(i, ("x"):rep(i % 97))
        end
        parts[#parts + 1] = ("long"):rep(60000) .. "\nlast"
        local text = table.concat(parts)
        local f = file_with(dir, text)
        local plain = assert(io.open(dir .. "/file"))
        local formats = { "l", helper.version == "5.1" and "l" or "L", 1, 7, 100, 65536, 70000, "l", 3 }
        for i = 1, 2000 do
            local format = formats[i % #formats + 1]
            local theirs
            if type(format) == "number" then
                theirs = plain:read(format)
            else
                theirs = plain:read("*" .. format)
            end
            assert.is_true(theirs == f:read(format))
        end
        assert.is_true(plain:read "*a" == f:read "a")
        plain:close()
        assert(f:close())
    end))

    it("lines goes through all lines, of any length", in_dir(function(dir)
        local long = ("long"):rep(50000)
        local f = file_with(dir, "a\n\n" .. long .. "\nlast")
        local seen = {}
        each(function(line) seen[#seen + 1] = line end, f:lines())
        assert.same({ "a", "", long, "last" }, seen)
        assert.equal(0, f:seek("set"))
        seen = {}
        each(function(line) seen[#seen + 1] = #line end, f:lines("L"))
        assert.same({ 2, 1, #long + 1, 4 }, seen)
        assert(f:close())
    end))

    it("fs.lines closes its file at the end and raises what fails", in_dir(function(dir)
        assert(fs.write(dir .. "/file", "a\nb\n"))
        local before, seen = helper.count_descriptors(), {}
        each(function(line) seen[#seen + 1] = line end, fs.lines(dir .. "/file"))
        assert.same({ "a", "b" }, seen)
        assert.equal(before, helper.count_descriptors())
        raises("ENOENT", fs.lines, dir .. "/none")
    end))

    it("a read after the end sees what was added meanwhile", in_dir(function(dir)
        local f = file_with(dir, "a\n")
        assert.equal("a", f:read())
        assert.is_nil(f:read())
        assert(fs.append(dir .. "/file", "b\n"))
        assert.equal("b", f:read())
        assert(f:close())
    end))

    it("writes, numbers too, and answers itself", in_dir(function(dir)
        local f = assert(fs.open(dir .. "/file", "w"))
        assert.equal(f, f:write("a", 1, "\n"))
        assert.equal(f, f:write())
        assert.equal("a1\n", fs.read(dir .. "/file"))
        raises("type_error", f.write, f, {})
        fails("EBADF", f:read(1))
        assert(f:close())
    end))

    it("a write goes where the script has read to", in_dir(function(dir)
        local f = file_with(dir, "one\ntwo\nthree\n", "r+")
        assert.equal("one", f:read())
        assert(f:write "TWO")
        assert.equal("\n", f:read(1))
        assert.equal("three", f:read())
        assert.equal("one\nTWO\nthree\n", fs.read(dir .. "/file"))
        assert(f:close())
    end))

    it("seek is io's", in_dir(function(dir)
        local f = file_with(dir, "0123456789")
        assert.equal("01", f:read(2))
        assert.equal(2, f:seek())
        assert.equal(5, f:seek("cur", 3))
        assert.equal("56", f:read(2))
        assert.equal(8, f:seek("end", -2))
        assert.equal("89", f:read("a"))
        assert.equal(0, f:seek("set"))
        fails("EINVAL", f:seek("set", -1))
        assert.is_false(pcall(f.seek, f, "middle"))
        assert.equal("0", f:read(1))
        assert(f:close())
    end))

    it("the modes are io.open's, and x", in_dir(function(dir)
        local path = dir .. "/file"
        fails("ENOENT", fs.open(path))
        fails("ENOENT", fs.open(path, "r+"))
        local function with(mode, text)
            local f = assert(fs.open(path, mode))
            assert(f:write(text))
            assert(f:close())
            return fs.read(path)
        end
        assert.equal("new", with("wx", "new"))
        fails("EEXIST", fs.open(path, "wx"))
        assert.equal("new more", with("a", " more"))
        assert.equal("old more", with("r+", "old"))
        assert.equal("all", with("w+b", "all"))
        assert.equal("all+", with("a+", "+"))
        for _, wrong in ipairs { "", "q", "rw", "x", "rx" } do
            raises("value_error", fs.open, path, wrong)
        end
    end))

    it("pread and pwrite leave the position", in_dir(function(dir)
        local f = file_with(dir, "0123456789", "r+")
        assert.equal("0", f:read(1))
        assert.equal("567", f:pread(3, 5))
        assert.equal(f, f:pwrite("XY", 8))
        assert.is_nil(f:pread(1, 100))
        assert.equal("1", f:read(1))
        assert.equal("01234567XY", fs.read(dir .. "/file"))
        raises("value_error", f.pread, f, 1, -1)
        assert(f:close())
    end))

    it("knows what it is", in_dir(function(dir)
        local f = file_with(dir, "12345", "r+")
        assert.equal(dir .. "/file", f:path())
        assert.equal("number", type(f:fd()))
        local found = f:stat()
        assert.equal("file", found.type)
        assert.equal(5, found.size)
        assert.is_true(math.abs(found.modified - os.time()) < 100)
        assert(f:sync())
        assert(f:sync(true))
        assert(f:truncate(2))
        assert.equal(2, f:stat().size)
        assert.matches("^neap.file: " .. dir:gsub("%-", "%%-") .. "/file %(descriptor %d+%)$", tostring(f))
        assert(f:close())
        assert.equal("neap.file: closed", tostring(f))
    end))

    it("a closed one says so", in_dir(function(dir)
        local f = file_with(dir, "12345")
        assert.is_false(f:closed())
        assert(f:close())
        assert(f:close())
        assert.is_true(f:closed())
        fails("closed", f:read(1))
        fails("closed", f:write("x"))
        fails("closed", f:seek())
        fails("closed", f:stat())
        fails("closed", f:fd())
    end))

    it("closing ends a read that waits", in_dir(function()
        local f = assert(fs.open("/dev/zero"))
        local reader = neap.spawn(f.read, f, 64 * 1024 * 1024)
        neap.yield()
        assert(f:close())
        local data, err = reader:await()
        assert.is_true(data ~= nil or err.code == "closed")
    end))

    it("has one reader at a time", in_dir(function()
        local f = assert(fs.open("/dev/zero"))
        local first = neap.spawn(f.read, f, 64 * 1024 * 1024)
        neap.yield()
        local _, err = f:read(1)
        if not first:done() then
            assert.equal("EBUSY", err.code)
        end
        assert.equal(64 * 1024 * 1024, #first:await())
        assert(f:close())
    end))

    it("a read that is over belongs to its reader until that has seen it", in_dir(function(dir)
        local text = ("a line\n"):rep(200000)
        local f = file_with(dir, text)
        local n = 0
        local reader = neap.spawn(function() n = #f:read "a" end)
        neap.yield()
        while not reader:done() do
            local line, err = f:read "l"
            if reader:done() then break end
            assert.is_nil(line)
            assert.equal("EBUSY", err.code)
            neap.yield()
        end
        assert.equal(#text, n)
    end))

    it("a full device is an error that knows operation and path", in_dir(function()
        local f = assert(fs.open("/dev/full", "w"))
        fails("ENOSPC", f:write("x"))
        local err = select(2, f:write("x"))
        assert.equal("write", err.op)
        assert.equal("/dev/full", err.path)
        assert.matches("write /dev/full: no space left on device", tostring(err))
        assert(f:close())
    end))

    it("one that was adopted goes on where it stands", in_dir(function(dir)
        local f = file_with(dir, "0123456789")
        local other = assert(fs.open(("/proc/self/fd/%d"):format(f:fd())))
        assert.equal("0123", other:read(4))
        assert.is_false(pcall(fs.adopt, "x"))
        fails("EBADF", fs.adopt(999))
        assert(other:close())
        assert(f:close())
    end))

    if helper.has_close then
        it("<close> closes it", in_dir(function(dir)
            assert(fs.write(dir .. "/file", "x"))
            local open = helper.compile [[
                local fs, path = ...
                local seen
                do
                    local f <close> = assert(fs.open(path))
                    seen = f
                end
                return seen
            ]]
            assert.is_true(open(fs, dir .. "/file"):closed())
        end))
    end
end)

describe("verbs on paths", function()
    it("read, write, append and replace whole files", in_dir(function(dir)
        local path = dir .. "/file"
        assert.equal(3, fs.write(path, "one"))
        assert.equal(4, fs.append(path, " two"))
        assert.equal("one two", fs.read(path))
        assert.equal(3, fs.write(path, "new"))
        assert.equal("new", fs.read(path))
        fails("EEXIST", fs.write(path, "x", { exclusive = true }))
        assert.equal(0, fs.write(path, "", { sync = true }))
        assert.equal("", fs.read(path))
        assert(fs.chmod(path, 384))
        assert.equal(8, fs.replace(path, "replaced"))
        assert.equal("replaced", fs.read(path))
        assert.equal(384, fs.stat(path).permissions)
        assert.equal(1, #fs.readdir(dir))
    end))

    it("a replace that fails leaves the old file and nothing else", in_dir(function(dir)
        assert(fs.mkdir(dir .. "/sub"))
        fails("EISDIR", fs.replace(dir .. "/sub", "x"))
        fails("ENOENT", fs.replace(dir .. "/none/file", "x"))
        assert.equal(1, #fs.readdir(dir))
    end))

    it("files without a size are read to their end", in_dir(function()
        assert.matches("^Name:", fs.read("/proc/self/status"))
        fails("EISDIR", fs.read("/tmp"))
    end))

    it("copy, rename and unlink", in_dir(function(dir)
        local a, b = dir .. "/a", dir .. "/b"
        local text = ("0123456789"):rep(200000)
        assert(fs.write(a, text))
        assert(fs.chmod(a, 488))
        assert.equal(#text, fs.copy(a, b))
        assert.is_true(fs.read(b) == text)
        assert.equal(488, fs.stat(b).permissions)
        fails("EINVAL", fs.copy(a, a))
        assert.is_true(fs.read(a) == text)
        fails("EEXIST", fs.copy(a, b, { exclusive = true }))
        fails("EISDIR", fs.copy(dir, b))
        assert(fs.copy("/proc/self/status", b))
        assert.matches("^Name:", fs.read(b))
        fails("EEXIST", fs.rename(a, b, { exclusive = true }))
        assert(fs.rename(a, b))
        assert.is_false(fs.exists(a))
        assert(fs.unlink(b))
        local _, err = fs.rename(a, b)
        assert.equal("rename", err.op)
        assert.equal(a, err.path)
        assert.equal(b, err.to)
    end))

    it("directories are made, with their parents, read and removed", in_dir(function(dir)
        assert(fs.mkdir(dir .. "/one"))
        fails("EEXIST", fs.mkdir(dir .. "/one"))
        fails("ENOENT", fs.mkdir(dir .. "/two/three"))
        assert(fs.mkdir(dir .. "/two//three/four/", { parents = true }))
        assert(fs.mkdir(dir .. "/two/three/four", { parents = true }))
        assert(fs.write(dir .. "/two/file", "x"))
        fails("EEXIST", fs.mkdir(dir .. "/two/file", { parents = true }))
        fails("ENOTDIR", fs.mkdir(dir .. "/two/file/below", { parents = true }))
        assert(fs.symlink("file", dir .. "/two/link"))
        local types = {}
        for _, entry in ipairs(fs.readdir(dir .. "/two")) do
            types[entry.name] = entry.type
        end
        assert.same({ three = "directory", file = "file", link = "link" }, types)
        fails("ENOTDIR", fs.readdir(dir .. "/two/file"))
        fails("ENOTEMPTY", fs.rmdir(dir .. "/two"))
        assert(fs.rmdir(dir .. "/one"))
    end))

    it("a directory of thousands of entries is read whole", in_dir(function(dir)
        local seen, n = {}, 3000
        neap.group(function(group)
            for i = 1, n do
                group:spawn(function() assert(fs.write(dir .. "/" .. i, "")) end)
            end
        end)
        for _, entry in ipairs(fs.readdir(dir)) do
            seen[entry.name] = true
        end
        for i = 1, n do
            assert.is_true(seen[tostring(i)])
        end
    end))

    it("links: of both kinds, their text, what they lead to", in_dir(function(dir)
        local a, link, hard = dir .. "/a", dir .. "/link", dir .. "/hard"
        assert(fs.write(a, "x"))
        assert(fs.symlink("a", link))
        assert(fs.link(a, hard))
        assert.equal("a", fs.readlink(link))
        fails("EINVAL", fs.readlink(a))
        local long = ("d"):rep(1000)
        assert(fs.symlink(long, dir .. "/long"))
        assert.equal(long, fs.readlink(dir .. "/long"))
        assert.equal("link", fs.lstat(link).type)
        assert.equal("file", fs.stat(link).type)
        assert.equal(2, fs.stat(hard).links)
        assert.equal(fs.realpath(a), fs.realpath(dir .. "/../" .. dir:match "[^/]+$" .. "/link"))
        fails("ENOENT", fs.realpath(dir .. "/none"))
        fails("ELOOP", fs.open(link, "r", { nofollow = true }))
    end))

    it("times, permissions and sizes can be set", in_dir(function(dir)
        local path = dir .. "/file"
        assert(fs.write(path, "12345", { permissions = 420 }))
        assert(fs.utimes(path, 1000.5, 2000.25))
        assert.equal(1000.5, fs.stat(path).accessed)
        assert.equal(2000.25, fs.stat(path).modified)
        assert(fs.utimes(path, nil, "now"))
        assert.equal(1000.5, fs.stat(path).accessed)
        assert.is_true(fs.stat(path).modified > 1e9)
        assert(fs.truncate(path, 2))
        assert.equal("12", fs.read(path))
        raises("value_error", fs.chmod, path, 8 ^ 5)
        raises("value_error", fs.truncate, path, -1)
        raises("type_error", fs.utimes, path, "yesterday")
    end))

    it("exists says no only where it knows", in_dir(function(dir)
        assert.is_true(fs.exists(dir))
        assert.is_false(fs.exists(dir .. "/none"))
        assert(fs.write(dir .. "/file", ""))
        assert.is_false(fs.exists(dir .. "/file/below"))
        fails("ENAMETOOLONG", fs.exists(dir .. "/" .. ("x"):rep(300)))
    end))

    it("mkstemp makes a file of its own", in_dir(function(dir)
        local a, b = assert(fs.mkstemp(dir .. "/t-XXXXXX")), assert(fs.mkstemp(dir .. "/t-XXXXXX"))
        assert.are_not.equal(a:path(), b:path())
        assert.matches("/t%-......$", a:path())
        assert(a:write("x"))
        assert.equal("x", fs.read(a:path()))
        assert.equal(384, a:stat().permissions)
        assert(a:close())
        assert(b:close())
        fails("EINVAL", fs.mkstemp(dir .. "/no pattern"))
    end))

    it("a path with a zero inside is refused and nothing is opened", in_dir(function()
        local _, err = fs.read "/etc/passwd\0.txt"
        assert.equal("value_error", err.code)
        assert.matches("zero byte", err.message)
        fails("value_error", fs.rename("/tmp/a", "/tmp/b\0"))
        fails("value_error", fs.open "\0")
        raises("type_error", fs.read, {})
        raises("value_error", fs.mkdir, "/tmp/x", { parent = true })
        raises("type_error", fs.mkdir, "/tmp/x", "parents")
    end))

    it("wait only inside a task", function()
        raises("no_loop", fs.read, "/etc/passwd")
    end)

    it("thousands at once all end", in_dir(function(dir)
        assert(fs.write(dir .. "/file", "text"))
        local n = 0
        neap.group(function(group)
            for _ = 1, 3000 do
                group:spawn(function()
                    assert.equal("text", fs.read(dir .. "/file"))
                    n = n + 1
                end)
            end
        end)
        assert.equal(3000, n)
    end))
end)

describe("walking a tree", function()
    local function names(dir, ...)
        local seen = {}
        each(function(path, entry, err)
            seen[#seen + 1] = path:sub(#dir + 2) .. ":" .. (entry and entry.type or err.code)
        end, fs.walk(dir, ...))
        return table.concat(seen, " ")
    end

    local function tree(dir)
        assert(fs.mkdir(dir .. "/a/b", { parents = true }))
        assert(fs.write(dir .. "/a/b/file", ""))
        assert(fs.write(dir .. "/z", ""))
        assert(fs.symlink("..", dir .. "/a/up"))
    end

    it("comes to each entry once, directories before what they hold", in_dir(function(dir)
        tree(dir)
        assert.equal("a:directory a/b:directory a/b/file:file a/up:link z:file", names(dir, { sorted = true }))
        assert.equal("a:directory z:file", names(dir, { sorted = true, depth = 1 }))
        assert.matches("unknown option 'deep'", select(2, pcall(fs.walk, dir, { deep = true })))
    end))

    it("follows links only if asked, and never in a circle", in_dir(function(dir)
        tree(dir)
        assert(fs.symlink(dir .. "/a/b", dir .. "/a/to_b"))
        assert.equal("a:directory a/b:directory a/b/file:file a/to_b:link a/to_b/file:file a/up:link z:file",
            names(dir, { sorted = true, follow = true }))
    end))

    it("tells of a directory that cannot be read, and goes on", in_dir(function(dir)
        tree(dir)
        local walk, seen = fs.walk(dir, { sorted = true }), {}
        for _ = 1, 100 do
            local path, entry, err = walk()
            if not path then break end
            if entry and entry.name == "b" then
                assert(fs.remove_tree(path))
            end
            seen[#seen + 1] = path:sub(#dir + 2) .. (err and ":" .. err.code or "")
        end
        assert.equal("a a/b a/b:ENOENT a/up z", table.concat(seen, " "))
        assert.equal(":ENOENT", names(dir .. "/none"))
    end))

    it("a tree deeper than there are descriptors is walked and removed", in_dir(function(dir)
        local path = dir .. "/d"
        for _ = 1, 300 do path = path .. "/d" end
        assert(fs.mkdir(path, { parents = true }))
        local n = 0
        local before = helper.count_descriptors()
        each(function()
            n = n + 1
            if n % 100 == 0 then
                assert.is_true(helper.count_descriptors() <= before)
            end
        end, fs.walk(dir))
        assert.equal(301, n)
        assert(fs.remove_tree(dir .. "/d"))
        assert.is_false(fs.exists(dir .. "/d"))
    end))

    it("remove_tree takes links away and leaves what they lead to", in_dir(function(dir)
        assert(fs.mkdir(dir .. "/keep"))
        assert(fs.write(dir .. "/keep/file", "x"))
        assert(fs.mkdir(dir .. "/go"))
        assert(fs.symlink("../keep", dir .. "/go/link"))
        assert(fs.remove_tree(dir .. "/go"))
        assert.equal("x", fs.read(dir .. "/keep/file"))
        assert(fs.symlink("keep", dir .. "/link"))
        assert(fs.remove_tree(dir .. "/link"))
        assert.equal("x", fs.read(dir .. "/keep/file"))
        fails("ENOENT", fs.remove_tree(dir .. "/link"))
    end))
end)

describe("a cancelled operation", function()
    it("frees whoever waits, and a file opened for nobody is closed", in_dir(function(dir)
        assert(fs.write(dir .. "/file", "x"))
        local tasks = {}
        for i = 1, 50 do
            tasks[i] = neap.spawn(fs.open, dir .. "/file")
        end
        neap.yield()
        for i = 1, 50 do
            tasks[i]:cancel()
        end
        neap.wait(tasks)
        local opened = 0
        for i = 1, 50 do
            if not tasks[i]:cancelled() then
                opened = opened + 1
                assert(tasks[i]:result():close())
            end
        end
        assert.is_true(opened < 50)
    end))

    it("a read loses nothing", in_dir(function(dir)
        local f = file_with(dir, ("x"):rep(1000000) .. "end")
        local data = neap.move_on(0, f.read, f, 1000000)
        assert.equal(data and "end" or ("x"):rep(1000000), f:read(1000000))
        assert(f:close())
    end))

    it("a timeout ends a wait for a file", in_dir(function(dir)
        raises("timeout", neap.timeout, 0, function()
            while true do
                fs.write(dir .. "/file", "x")
            end
        end)
    end))
end)

describe("a watch", function()
    -- The next event about this path that has this kind; others go by.
    local function await(watch, path, kind)
        for _ = 1, 1000 do
            local event = assert(watch:next())
            if event.path == path and event[kind] then return event end
        end
        error("no event " .. kind .. " of " .. path)
    end

    it("tells what happens to the entries of a directory", in_dir(function(dir)
        local watch = assert(fs.watch(dir))
        assert(fs.write(dir .. "/a", "x"))
        assert.equal("a", await(watch, dir .. "/a", "created").name)
        await(watch, dir .. "/a", "modified")
        await(watch, dir .. "/a", "written")
        assert(fs.rename(dir .. "/a", dir .. "/b"))
        local from = await(watch, dir .. "/a", "moved_from")
        assert.equal(from.cookie, await(watch, dir .. "/b", "moved_to").cookie)
        assert(fs.chmod(dir .. "/b", 384))
        await(watch, dir .. "/b", "attributes")
        assert(fs.unlink(dir .. "/b"))
        await(watch, dir .. "/b", "deleted")
        assert(fs.mkdir(dir .. "/sub"))
        assert.is_true(await(watch, dir .. "/sub", "created").is_directory)
        assert(watch:close())
        assert.is_nil(watch:next())
    end))

    it("wakes who waits for an event, and who waits when it is closed", in_dir(function(dir)
        local watch = assert(fs.watch(dir))
        local waiting = neap.spawn(watch.next, watch)
        neap.sleep(0.001)
        assert.is_false(waiting:done())
        assert(fs.write(dir .. "/a", ""))
        assert.equal(dir .. "/a", waiting:await().path)
        while neap.move_on(0.01, watch.next, watch) do end
        waiting = neap.spawn(watch.next, watch)
        neap.sleep(0.001)
        assert(watch:close())
        assert.is_nil(waiting:await())
    end))

    it("says when the watched thing is gone", in_dir(function(dir)
        assert(fs.write(dir .. "/file", "x"))
        local watch = assert(fs.watch(dir .. "/file"))
        assert(fs.unlink(dir .. "/file"))
        await(watch, dir .. "/file", "gone")
        await(watch, dir .. "/file", "ended")
        assert(watch:close())
        fails("ENOENT", fs.watch(dir .. "/file"))
    end))

    it("a recursive one that cannot see a new directory says so", in_dir(function(dir)
        local watch = assert(fs.watch(dir, { recursive = true }))
        local real = watch.events
        watch.events = {
            add = function() return nil, { code = "ENOSPC" } end,
            next_event = function() return real:next_event() end,
            close = function() return real:close() end,
        }
        for round = 1, 2 do
            local path = dir .. "/sub" .. round
            assert(fs.mkdir(path))
            assert.equal(path, watch:next().path)
            if round == 1 then
                fails("ENOSPC", watch:next())
            else
                assert.equal("ENOSPC", raises("ENOSPC", watch).code)
            end
        end
        watch:close()
    end))

    it("a recursive one sees directories that are made later, and what was in them already", in_dir(function(dir)
        assert(fs.mkdir(dir .. "/a/b", { parents = true }))
        local watch = assert(fs.watch(dir, { recursive = true }))
        assert(fs.write(dir .. "/a/b/file", "x"))
        await(watch, dir .. "/a/b/file", "created")
        assert(fs.mkdir(dir .. "/new/deep", { parents = true }))
        assert(fs.write(dir .. "/new/deep/file", "x"))
        await(watch, dir .. "/new", "created")
        await(watch, dir .. "/new/deep/file", "created")
        assert(fs.write(dir .. "/new/deep/second", "x"))
        await(watch, dir .. "/new/deep/second", "created")
        assert(watch:close())
        assert.matches("unknown option 'deep'", select(2, pcall(fs.watch, dir, { deep = true })))
    end))

    it("tells that events were lost", in_dir(function(dir)
        local watch = assert(fs.watch(dir))
        local limit = tonumber(fs.read "/proc/sys/fs/inotify/max_queued_events")
        local path = dir .. "/file"
        -- Equal events in a row are one, so two kinds take turns; by io, which is faster.
        for _ = 1, limit / 2 + 100 do
            local f = assert(io.open(path, "w"))
            f:write("x")
            f:close()
            os.remove(path)
        end
        local lost
        for _ = 1, limit + 10 do
            local event = watch:next()
            lost = event.overflow
            if lost then break end
        end
        assert.is_true(lost)
        assert(watch:close())
    end))

    it("its iteration is a loop over events", in_dir(function(dir)
        local watch = assert(fs.watch(dir))
        assert(fs.write(dir .. "/a", "x"))
        local seen = 0
        each(function(event)
            seen = seen + 1
            if event.written then watch:close() end
        end, watch)
        assert.is_true(seen >= 2)
    end))
end)
