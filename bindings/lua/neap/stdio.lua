-- neap.stdin, neap.stdout, neap.stderr: the streams of the process, made by each loop when it first asks for them.
return function(neap)
    local numbers = { stdin = 0, stdout = 1, stderr = 2 }
    local by_loop = setmetatable({}, { __mode = "k" })

    local function standard(_, name)
        local number = numbers[name]
        if not number then return nil end
        local loop = neap.loop()
        local streams = by_loop[loop]
        if not streams then
            streams = {}
            by_loop[loop] = streams
        end
        if not streams[name] then
            local stream, err = neap.shared_stream(number)
            if not stream then error(err, 2) end
            streams[name] = stream
        end
        return streams[name]
    end

    setmetatable(neap, { __index = standard })
end
