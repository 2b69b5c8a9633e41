-- What locks, semaphores and channels have beyond their verbs in C.
return function(methods, keep_trace, xpcall)
    local function released(self, ok, ...)
        self:release()
        if ok then return ... end
        error((...), 0)
    end

    -- Runs fn(...) with the lock, a permit or a token held.
    local function with(self, fn, ...)
        self:acquire()
        return released(self, xpcall(fn, keep_trace, ...))
    end

    methods.lock.with = with
    methods.semaphore.with = with
    methods.limiter.with = with

    -- Waits until predicate(...) is true, asked with the lock held; answers what it answered.
    function methods.condition.wait_for(condition, predicate, ...)
        local answer = predicate(...)
        while not answer do
            condition:wait()
            answer = predicate(...)
        end
        return answer
    end

    -- for value in channel:iter() do ... end, until the channel is closed and empty.
    function methods.channel.iter(channel)
        return channel.recv, channel
    end
    methods.shared_channel.iter = methods.channel.iter

    function methods.queue.iter(queue)
        return queue.get, queue
    end
end
