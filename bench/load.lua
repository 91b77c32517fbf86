-- For wrk. CONNECTIONS in the environment; with a number after the URL and a double dash, one route after
-- the other is asked for, that many of them.
--
-- Times are told as the connections saw them. wrk itself adds, after the run, a request for each
-- average interval that an answer took longer than that: at saturation, where nobody asks at a rate,
-- one pause of the machine then decides the p99. What it added is taken away again, largest first, and
-- what is left must be as many as were answered.
local ffi = require('ffi')
ffi.cdef('typedef struct { uint64_t count, limit, min, max, data[]; } stats;')

function init(args)
  local count = tonumber(args[1])
  if not count then return end
  local at = 0
  function request()
    at = (at + 1) % count
    return wrk.format('GET', '/route' .. at .. '/7')
  end
end

function done(summary, latency)
  local stats = ffi.cast('stats **', latency)[0]
  local times = stats.data
  local max = tonumber(stats.max)
  local perConnection = math.floor(summary.requests / tonumber(os.getenv('CONNECTIONS')))
  if perConnection > 0 then
    local interval = math.floor(summary.duration / perConnection)
    for time = max, 2 * interval, -1 do
      local count = times[time]
      if count > 0 then
        for added = time - interval, interval + 1, -interval do
          times[added] = times[added] - count
        end
      end
    end
  end
  local total = 0
  for time = 0, max do total = total + tonumber(times[time]) end
  local function at(share)
    local seen = 0
    for time = 0, max do
      seen = seen + tonumber(times[time])
      if seen >= share * total then return time end
    end
  end
  local errors = summary.errors
  if total + errors.timeout ~= summary.requests then
    error(string.format('%d times of %d answers', total, summary.requests))
  end
  io.write(string.format('{"requests":%d,"us":%d,"failed":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, errors.status, at(0.5), at(0.99)))
end
