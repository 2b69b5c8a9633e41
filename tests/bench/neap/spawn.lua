-- For spawn.c: 1,000 processes, one after the other; prints ns for each.
local neap = require "neap"

local count = tonumber(arg and arg[1]) or 1000
local loop = neap.loop()
loop:on_slow(math.huge) -- starting a program is as slow as it is
local began = loop:time()
for _ = 1, count do
    neap.process({ "/bin/true" }):wait()
end
print(("%.0f"):format((loop:time() - began) / count * 1e9))
