-- Signals by callbacks of a loop, in asyncio's words; streams of signals are in C.
return function(signals, loop)
    local number, unwatch = signals.number, signals.unwatch
    local add_signal_handler = signals.watch -- errors blame it by this name

    local handlers = setmetatable({}, { __mode = "k" }) -- [loop][signal]: the handle of a callback

    -- Calls fn(...) after the signal arrived; whether it replaced another.
    function loop.add_signal_handler(self, signal, fn, ...)
        local handle = add_signal_handler(self, signal, fn, ...)
        local replaced = self:remove_signal_handler(signal)
        handlers[self] = handlers[self] or {}
        handlers[self][number(signal)] = handle
        return replaced
    end

    -- Whether there was one.
    function loop.remove_signal_handler(self, signal)
        local own, signo = handlers[self], number(signal)
        local handle = own and own[signo]
        if not handle then
            return false
        end
        own[signo] = nil
        return unwatch(handle)
    end
end
