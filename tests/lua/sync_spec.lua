-- Locks, semaphores, channels.
local neap = require "neap"
local helper = require "support.helper"
local in_loop = helper.in_loop

local function now()
    return neap.loop():time()
end

describe("lock", function()
    it("D23: goes from task to task in the order of arrival", in_loop(function()
        local lock, order = neap.lock(), {}
        neap.group(function(g)
            for i = 1, 3 do
                g:spawn(function()
                    assert.is_true(lock:acquire())
                    neap.sleep(1)
                    order[#order + 1] = i
                    lock:release()
                end)
            end
        end)
        assert.same({ 1, 2, 3 }, order)
        assert.equal(3, now())
        assert.is_false(lock:locked())
    end))

    it("with releases it whatever happens", in_loop(function()
        local lock = neap.lock()
        assert.equal(7, lock:with(function(a, b)
            assert.is_true(lock:locked())
            return a + b
        end, 3, 4))
        local ok, err = pcall(lock.with, lock, error, "mine")
        assert.is_false(ok)
        assert.equal("mine", err)
        assert.is_nil(neap.move_on(1, lock.with, lock, neap.sleep, 9))
        assert.is_false(lock:locked())
    end))

    it("D23: is refused to its holder, and released by nobody else", in_loop(function()
        local lock = neap.lock()
        lock:acquire()
        local ok, err = pcall(lock.acquire, lock)
        assert.is_false(ok)
        assert.equal("deadlock", err.code)
        assert.is_false(lock:try_acquire())
        neap.spawn(function()
            assert.is_false(lock:try_acquire())
            local released, e = pcall(lock.release, lock)
            assert.is_false(released)
            assert.equal("EPERM", e.code)
        end):await()
        lock:release()
        assert.is_true(lock:try_acquire())
        lock:release()
    end))

    it("D2 C10: a lock that was handed over stays with who is cancelled in the same tick", in_loop(function()
        local lock, had = neap.lock(), false
        lock:acquire()
        local task = neap.spawn(function()
            lock:acquire()
            had = true
            local ok = pcall(neap.sleep, 1)
            lock:release()
            return ok
        end)
        neap.yield()
        lock:release()
        task:cancel()
        assert.is_false(task:await())
        assert.is_true(had)
        assert.is_false(lock:locked())
    end))

    it("D23: a cancelled waiter swallows nothing", in_loop(function()
        local lock, got = neap.lock(), {}
        lock:acquire()
        local tasks = {}
        for i = 1, 5 do
            tasks[i] = neap.spawn(function()
                lock:acquire()
                got[#got + 1] = i
                lock:release()
            end)
        end
        neap.yield()
        tasks[1]:cancel()
        tasks[3]:cancel()
        lock:release()
        neap.wait(tasks)
        assert.same({ 2, 4, 5 }, got)
    end))

    it("T9: tasks that wait for each other's locks are named, and their ring", function()
        local a, b = neap.lock(), neap.lock()
        local function take(first, second)
            first:acquire()
            neap.yield()
            second:acquire()
        end
        local ok, err = pcall(neap.run, function()
            neap.group(function(g)
                g:spawn { take, a, b, name = "left" }
                g:spawn { take, b, a, name = "right" }
            end)
        end)
        assert.is_false(ok)
        assert.equal("deadlock", err.code)
        assert.matches("main waits for the tasks of its group", err.message)
        assert.matches("left waits for a lock that right has at ", err.message)
        assert.matches("in a ring: left %-> right %-> left", err.message)
    end)

    it("can be made before there is a loop, and serves one loop after the other", function()
        local lock, semaphore, channel = neap.lock(), neap.semaphore(1), neap.channel(1)
        for _ = 1, 2 do
            neap.run(function()
                assert.is_true(lock:try_acquire())
                assert.is_true(semaphore:try_acquire())
                assert.equal(0, channel:len())
                assert.is_true(channel:send "left")
            end)
        end
    end)
end)

describe("semaphore", function()
    it("lets so many in at a time", in_loop(function()
        local semaphore, inside, most = neap.semaphore(3), 0, 0
        neap.group(function(g)
            for _ = 1, 10 do
                g:spawn(semaphore.with, semaphore, function()
                    inside = inside + 1
                    most = math.max(most, inside)
                    neap.sleep(1)
                    inside = inside - 1
                end)
            end
        end)
        assert.equal(3, most)
        assert.equal(3, semaphore:permits())
        assert.equal(4, now())
    end))

    it("permits can be given before they are taken", in_loop(function()
        local semaphore = neap.semaphore(0)
        assert.is_false(semaphore:try_acquire())
        semaphore:release()
        assert.is_true(semaphore:try_acquire())
        local task = neap.spawn(semaphore.acquire, semaphore)
        neap.yield()
        semaphore:release()
        assert.is_true(task:await())
        assert.equal(0, semaphore:permits())
    end))

    it("strange numbers are refused", in_loop(function()
        for _, n in ipairs { -1, 1.5, 0 / 0, "x" } do
            assert.is_false(pcall(neap.semaphore, n))
        end
    end))
end)

describe("event", function()
    it("lets all go who wait, and nobody waits while it is set", in_loop(function()
        local event, woken = neap.event(), 0
        neap.group(function(g)
            for _ = 1, 3 do
                g:spawn(function()
                    assert.is_true(event:wait())
                    woken = woken + 1
                end)
            end
            neap.sleep(1)
            assert.equal(0, woken)
            assert.is_true(event:set())
            assert.is_false(event:set())
        end)
        assert.equal(3, woken)
        assert.is_true(event:wait())
        assert.is_true(event:is_set())
        assert.is_true(event:clear())
        assert.is_nil(neap.move_on(1, event.wait, event))
        assert.is_false(event:is_set())
        assert.equal(2, now())
    end))
end)

describe("channel", function()
    it("hands values over in order, each once", in_loop(function()
        for capacity = 0, 3 do
            local channel, got = neap.channel(capacity), {}
            neap.group(function(g)
                g:spawn(function()
                    for i = 1, 10 do assert(channel:send(i)) end
                    channel:close()
                end)
                helper.each(function(value) got[#got + 1] = value end, channel:iter())
            end)
            assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, got)
        end
    end))

    it("values of all types arrive as they are", in_loop(function()
        local channel, t = neap.channel(10), {}
        for _, value in ipairs { 1, 1.5, "text", true, t, print } do
            assert.is_true(channel:send(value))
            assert.equal(value, channel:recv())
        end
        channel:send(false)
        assert.is_false(channel:recv())
        local task = neap.spawn(channel.recv, channel)
        neap.yield()
        channel:send(t)
        assert.equal(t, task:await())
        assert.is_false(pcall(channel.send, channel, nil))
    end))

    it("D14: a sender waits while it is full", in_loop(function()
        local channel, sent = neap.channel(2), 0
        local task = neap.spawn(function()
            for i = 1, 4 do
                channel:send(i)
                sent = i
            end
        end)
        neap.sleep(1)
        assert.equal(2, sent)
        assert.equal(2, channel:len())
        assert.is_false(channel:try_send(9))
        assert.equal(1, channel:recv())
        neap.sleep(1)
        assert.equal(3, sent)
        assert.equal(2, channel:try_recv())
        task:await()
        assert.equal(3, channel:try_recv())
        assert.equal(4, channel:try_recv())
        assert.is_nil(channel:try_recv())
        assert.is_true(channel:try_send(5))
    end))

    it("what was sent before the close is received, then nil", in_loop(function()
        local channel = neap.channel(5)
        channel:send "a"
        assert.is_true(channel:close())
        assert.is_false(channel:close())
        assert.is_true(channel:is_closed())
        local ok, err = channel:send "b"
        assert.is_nil(ok)
        assert.equal("closed", err.code)
        assert.equal("a", channel:recv())
        assert.is_nil(channel:recv())
        assert.is_nil(channel:recv())
    end))

    it("D23: a close wakes both sides", in_loop(function()
        local empty, full = neap.channel(), neap.channel()
        local receiver = neap.spawn(empty.recv, empty)
        local sender = neap.spawn(function()
            local ok, err = full:send(1)
            return ok, err.code
        end)
        neap.yield()
        empty:close()
        full:close()
        assert.is_nil(receiver:await())
        assert.same({ nil, "closed" }, { sender:await() })
    end))

    it("C10: an item that was handed over stays with who is cancelled in the same tick", in_loop(function()
        local channel, got = neap.channel(), nil
        local task = neap.spawn(function()
            got = channel:recv()
            neap.sleep(1)
        end)
        neap.yield()
        assert(channel:send "item")
        task:cancel()
        assert.is_false(pcall(task.await, task))
        assert.equal("item", got)
    end))

    it("a cancelled sender has not sent, a cancelled receiver has not taken", in_loop(function()
        local channel = neap.channel()
        assert.is_nil(neap.move_on(1, channel.send, channel, "never"))
        assert.is_nil(channel:try_recv())
        assert.is_nil(neap.move_on(1, channel.recv, channel))
        local receiver = neap.spawn(channel.recv, channel)
        neap.yield()
        assert(channel:send "kept")
        assert.equal("kept", receiver:await())
    end))

    it("one that never waits leaves others their turns", in_loop(function()
        local channel, turns, running = neap.channel(1), 0, true
        neap.spawn(function()
            while running do
                turns = turns + 1
                neap.yield()
            end
        end)
        for i = 1, 5000 do
            channel:send(i)
            assert.equal(i, channel:recv())
        end
        running = false
        neap.yield()
        assert.is_true(turns > 20)
    end))

    it("nothing that it held is kept", in_loop(function()
        local box = setmetatable({}, { __mode = "k" })
        do
            local channel, item = neap.channel(3), {}
            box[item] = true
            channel:send(item)
            channel:send(item)
            channel:recv()
        end
        helper.collect()
        neap.yield()
        helper.collect()
        assert.is_nil(next(box))
    end))

    it("many tasks pass many items and lose none", in_loop(function()
        local channel, sum = neap.channel(7), 0
        neap.group(function(g)
            for _ = 1, 20 do
                g:spawn(function()
                    helper.each(function(value) sum = sum + value end, channel:iter())
                end)
            end
            neap.group(function(senders)
                for i = 1, 20 do
                    senders:spawn(function()
                        for k = 1, 50 do
                            if (k + i) % 7 == 0 then neap.yield() end
                            channel:send(i)
                        end
                    end)
                end
            end)
            channel:close()
        end)
        assert.equal(50 * 210, sum)
    end))
end)
