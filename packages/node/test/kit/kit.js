// What the kit's tests share: a kit in this process with a memory tracker and captured lines, and a server.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { init } from '../../dist/esm/index.js'
import { captureLogs, createMemoryTracker } from '../../dist/esm/testing.js'

/** Starts a kit of this process with everything traced; `close` undoes it. */
export function startKit(options = {}) {
  const tracker = createMemoryTracker()
  const kit = init({
    service: 'kit',
    trace: { sampleRate: 1 },
    ...options,
    errors: { tracker, captureCrashes: false, spoolDir: false, ...options.errors },
    shutdown: { enabled: false },
  })
  const logs = captureLogs()
  return {
    kit,
    tracker,
    logs,
    async close() {
      logs.stop()
      await kit.close()
    },
  }
}

/** Serves `handle` on a free loopback port; `options` are those of `createServer`. */
export async function serve(handle, host = '127.0.0.1', options = {}) {
  const server = createServer(options, handle).listen(0, host)
  await once(server, 'listening')
  return {
    server,
    port: server.address().port,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Resolves when `holds()` is true; rejects after `timeoutMs`. For what publishes no event. */
export async function until(holds, timeoutMs = 10_000) {
  const end = performance.now() + timeoutMs
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
