import { connect } from 'node:net'
import { findProgram, freePort, runService, temporaryFolder } from './server.js'

/** Starts a real Redis; `args` are added to its command line (`['--requirepass', 'x']`). */
export async function startRedis(args = []) {
  const program = findProgram(['redis-server', 'valkey-server'], [], 'redis-server')
  const folder = temporaryFolder('redis')
  const port = await freePort()
  return runService({
    program,
    args: ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', ...args],
    port,
    url: `redis://127.0.0.1:${port}`,
    stopSignal: 'SIGTERM',
    ready: () => answers(port),
  })
}

/** True once the server answers anything at all, be it an error. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const finish = (answer) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(1000, () => finish(false))
    socket.on('error', () => finish(false))
    socket.on('data', () => finish(true))
    socket.write('PING\r\n')
  })
}
