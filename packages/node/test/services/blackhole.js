import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'

// A listener whose queue holds one connection that nobody accepts: Linux drops every further SYN, so
// that a client hears nothing at all. Node accepts at once, hence another program.
const LISTENER = `
import socket, sys, time
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen(0)
print(s.getsockname()[1], flush=True)
sys.stdin.read()
`

/** Starts a port on loopback at which packets are dropped: neither accepted nor refused. */
export async function startBlackhole() {
  const child = spawn('python3', ['-c', LISTENER], { stdio: ['pipe', 'pipe', 'inherit'] })
  const port = Number(String((await once(child.stdout, 'data'))[0]))
  const fillers = []
  // Until one is not answered: then the queue is full.
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    fillers.push(socket)
    const isOpen = await Promise.race([
      once(socket, 'connect').then(() => true),
      new Promise((resolve) => setTimeout(resolve, 500, false)),
    ])
    if (!isOpen) break
    if (fillers.length > 16) throw new Error('the queue of the listener does not fill')
  }
  return {
    port,
    async close() {
      for (const socket of fillers) socket.destroy()
      const exited = once(child, 'exit')
      child.stdin.end()
      await exited
    },
  }
}
