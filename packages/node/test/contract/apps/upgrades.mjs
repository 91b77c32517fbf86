// A WebSocket echo at /ws (by the ws package) that logs each message; every other upgrade is refused.
import { WebSocketServer } from 'ws'
import { log } from './start.mjs'

export function serveUpgrades(server) {
  const sockets = new WebSocketServer({ noServer: true })
  sockets.on('connection', (socket) => {
    socket.on('message', (message) => {
      log.info('ws_message', { text: String(message) })
      socket.send(String(message))
    })
  })
  server.on('upgrade', (req, socket, head) => {
    if (req.url.startsWith('/ws')) {
      sockets.handleUpgrade(req, socket, head, (ws) => sockets.emit('connection', ws))
    } else socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  })
}
