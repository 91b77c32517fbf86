/** What the hook inside the service's Node processes tells: a local socket with one JSON object a line. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Pulse } from './pulse.js'

export type HookReport = { readonly pid: number; readonly ppid: number; readonly at: number } & (
  | { readonly type: 'hello'; readonly node: string; readonly script: string }
  | {
      readonly type: 'listen'
      readonly port: number
      readonly host: string
      readonly isHttp: boolean
      readonly isTls: boolean
      /** The process to signal: of a cluster the primary. */
      readonly listener: number
    }
  | {
      readonly type: 'connect'
      readonly sourcePort: number
      readonly host?: string
      readonly port?: number
      readonly path?: string
    }
  | { readonly type: 'refused'; readonly host: string; readonly port: number }
  | { readonly type: 'stderr'; readonly text: string }
)

export type Channel = {
  /** Path of the socket, for the environment of the service. */
  readonly path: string
  close(): Promise<void>
}

/** Listens; `onReport` is called for each report in the order in which a process sent them. */
export async function openChannel(
  pulse: Pulse,
  now: () => number,
  onReport: (report: HookReport) => void,
): Promise<Channel> {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-'))
  const path =
    process.platform === 'win32' ? `\\\\.\\pipe\\telltale-${process.pid}` : join(folder, 'hook')
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    createInterface({ input: socket }).on('line', (text) => {
      try {
        onReport({ ...JSON.parse(text), at: now() } as HookReport)
      } catch {
        return
      }
      pulse.beat()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return {
    path,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
