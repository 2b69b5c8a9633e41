-- Channels between threads, here both ends in one.
local neap = require "neap"
local helper = require "support.helper"
local in_loop = helper.in_loop

describe("shared channel", function()
    it("numbers, booleans and strings arrive in order, as they are", in_loop(function()
        local channel, out = neap.shared_channel(2), {}
        neap.spawn(function()
            for _, value in ipairs { 1, 2.5, "a\0b", true, "" } do
                assert.is_true(channel:send(value))
            end
            channel:send(false)
            channel:close()
        end)
        for i = 1, 6 do
            out[i] = channel:recv()
        end
        assert.same({ 1, 2.5, "a\0b", true, "", false }, out)
        assert.is_nil(channel:recv())
    end))

    it("tables arrive as copies, and channels as themselves", in_loop(function()
        local channel, other = neap.shared_channel("unbounded"), neap.shared_channel(1)
        local sent = { 1, { x = "y" }, [2.5] = true, other = other }
        sent.self = sent
        channel:send(sent)
        assert.is_true(channel:try_send { sent[2], sent[2] })
        local got, pair = channel:recv(), channel:try_recv()
        assert.is_true(got ~= sent and got.self == got)
        assert.same({ x = "y" }, got[2])
        assert.is_true(got[2.5])
        assert.is_true(pair[1] == pair[2])
        assert.is_true(got.other:try_send(7))
        assert.equal(7, other:try_recv())
    end))

    it("what nobody receives goes with the channel", in_loop(function()
        local inner = neap.shared_channel(1)
        neap.shared_channel(1):try_send { inner }
        assert.is_nil(neap.move_on(1, neap.shared_channel().send, neap.shared_channel(), { inner }))
    end))

    it("nil, functions and objects do not go to other threads", in_loop(function()
        local channel = neap.shared_channel("unbounded")
        local thread = coroutine.create(function() end)
        for _, value in ipairs { print, setmetatable({}, {}), { { print } }, channel.send, thread } do
            local err = helper.raises("type_error", channel.send, channel, value)
            helper.contains("cannot be copied", err.message)
        end
        helper.contains("the value.a[2]: a function", helper.raises("type_error", channel.send, channel,
            { a = { 1, print } }).message)
        helper.raises("type_error", channel.try_send, channel)
        helper.raises("type_error", channel.try_send, channel, nil)
        assert.equal(0, #channel)
    end))

    it("a try never waits", in_loop(function()
        local channel = neap.shared_channel(1)
        assert.is_nil(channel:try_recv())
        assert.is_true(channel:try_send(1))
        assert.is_false(channel:try_send(2))
        assert.equal(1, channel:try_recv())
    end))

    it("a close wakes both sides", in_loop(function()
        local channel = neap.shared_channel()
        local receiver = neap.spawn(channel.recv, channel)
        neap.sleep(0)
        assert.is_true(channel:close())
        assert.is_false(channel:close())
        assert.is_nil(receiver:await())
        local ok, err = channel:send(1)
        assert.is_nil(ok)
        assert.equal("closed", err.code)
        assert.is_true(channel:is_closed())
    end))

    it("D24: can be received from in a select", in_loop(function()
        local a, b = neap.shared_channel(), neap.shared_channel(1)
        b:send("there")
        assert.same({ 2, "there" }, { neap.select { a, b } })
        neap.spawn(a.send, a, "late")
        assert.same({ 1, "late" }, { neap.select { a, b } })
        assert.is_false(a:try_send(1))
    end))

    it("a cancelled receiver has taken nothing", in_loop(function()
        local channel = neap.shared_channel()
        assert.is_nil(neap.move_on(1, channel.recv, channel))
        assert.is_false(channel:try_send(1))
        assert.is_nil(neap.move_on(1, channel.send, channel, 1))
        assert.is_nil(channel:try_recv())
    end))

    it("can be made without a loop, and outlives one", function()
        local channel = neap.shared_channel(1)
        neap.run(channel.send, channel, "kept")
        assert.equal("kept", neap.run(channel.recv, channel))
    end)
end)
