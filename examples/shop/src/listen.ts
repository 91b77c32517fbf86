/** Opening the port, with an error that says what to do. */
import type { RequestListener, Server } from 'node:http'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createNetServer } from 'node:net'

/** Listens and resolves with the server and its URL; rejects with a remedy when the port is taken. */
export async function listen(
  handler: RequestListener,
  port: number,
  host: string,
): Promise<{ server: Server; url: string }> {
  const server = createServer(handler)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new Error(portTaken(port, host)) : error)
    })
    server.listen(port, host, resolve)
  })
  const { address, family, port: taken } = server.address() as AddressInfo
  return { server, url: `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}` }
}

/** What to tell when another program has the port. */
export function portTaken(port: number, host: string): string {
  return `Port ${port} on ${host} is taken. Choose another, for example PORT=${port + 1}, or end the program that has it.`
}

/** A port that nothing listens on at this moment. */
export function freePort(host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createNetServer()
    probe.once('error', reject)
    probe.listen(0, host, () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
