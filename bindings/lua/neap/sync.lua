-- What locks, semaphores and channels have beyond their verbs in C.
return function(methods, keep_trace)
    local function released(self, ok, ...)
        self:release()
        if ok then return ... end
        error((...), 0)
    end

    -- Runs fn(...) with the lock or a permit held.
    local function with(self, fn, ...)
        self:acquire()
        return released(self, xpcall(fn, keep_trace, ...))
    end

    methods.lock.with = with
    methods.semaphore.with = with

    -- for value in channel:iter() do ... end, until the channel is closed and empty.
    function methods.channel.iter(channel)
        return channel.recv, channel
    end
end
