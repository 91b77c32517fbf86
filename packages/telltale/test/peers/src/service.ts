// A small correct service in TypeScript.
import '../kit.js'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

function answer(_request: IncomingMessage, response: ServerResponse): void {
  response.end('hello')
}
createServer(answer).listen(Number(process.env.PORT), '127.0.0.1')
