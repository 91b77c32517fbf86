import { once } from 'node:events'
import { connect, createServer } from 'node:net'

// As in verify's proxy: what is being shut down can only be closed.
const reset = (socket) => (socket.writableEnded ? socket.destroy() : socket.resetAndDestroy())

/**
 * Starts a TCP proxy before a service. `mode(name)` decides what new connections meet and, for
 * `stall`, what open ones meet too:
 * - `pass`: bytes go both ways
 * - `refuse`: the port is closed
 * - `reset`: accepted and reset at once
 * - `stall`: accepted, and nothing is ever answered
 * `cut()` resets every open connection. `connections` is the number open now, `accepted` in all.
 */
export async function startProxy(targetPort) {
  const sockets = new Set()
  let mode = 'pass'
  let accepted = 0
  let port = 0
  let server

  function accept(socket) {
    accepted++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    if (mode === 'reset') return reset(socket)
    if (mode === 'stall') return socket.resume()
    const target = connect(targetPort, '127.0.0.1')
    target.on('error', () => socket.destroy())
    target.on('close', () => socket.destroy())
    socket.on('close', () => target.destroy())
    socket.on('data', (chunk) => mode === 'stall' || target.write(chunk))
    target.on('data', (chunk) => mode === 'stall' || socket.write(chunk))
  }

  async function listen() {
    server = createServer(accept).listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = server.address().port
    server.unref()
  }

  function cut() {
    for (const socket of sockets) reset(socket)
  }

  await listen()
  return {
    get port() {
      return port
    },
    get connections() {
      return sockets.size
    },
    get accepted() {
      return accepted
    },
    cut,
    async mode(name) {
      const was = mode
      mode = name
      if (name === 'refuse' && was !== 'refuse') {
        const closed = once(server, 'close')
        server.close()
        cut()
        await closed
      } else if (was === 'refuse' && name !== 'refuse') await listen()
      if (name === 'reset') cut()
    },
    close() {
      server.close()
      cut()
    },
  }
}
