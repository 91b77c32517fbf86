-- wrk: one route after the other; the number of routes follows the URL and a double dash.
local count = 1
local at = 0

function init(args)
  count = tonumber(args[1])
end

function request()
  at = (at + 1) % count
  return wrk.format('GET', '/route' .. at .. '/7')
end
