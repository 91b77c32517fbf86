import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { after, before, test } from 'node:test'
import { recogniseProtocol, roleOf, startProxy } from '../../dist/verify/proxy.js'
import { createPulse } from '../../dist/verify/pulse.js'

let server
let proxy
let port
const address = () => `127.0.0.1:${server.address().port}`
before(async () => {
  // An echo, as the dependency.
  server = createServer((socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  proxy = await startProxy(createPulse())
  port = await proxy.lead('echo', '127.0.0.1', server.address().port)
})
after(async () => {
  await proxy.close()
  server.close()
})

async function open() {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}
// `once` would reject at the error that comes before the close.
const closed = (socket) => new Promise((resolve) => socket.once('close', resolve))
async function echo(socket, text) {
  socket.write(text)
  const [answer] = await once(socket, 'data')
  return String(answer)
}

test('proxy: passes, and counts what is asked', async () => {
  const socket = await open()
  assert.equal(await echo(socket, 'one'), 'one')
  const target = proxy.targets.get(address())
  assert.deepEqual([target.name, target.isNamed, target.asked], ['echo', true, 1])
  socket.destroy()
})

test('proxy: reset ends what is open and what comes', async () => {
  const target = proxy.targets.get(address())
  const socket = await open()
  await echo(socket, 'one')
  proxy.set(target, 'reset')
  await closed(socket)
  const next = connect(port, '127.0.0.1')
  next.on('error', () => {})
  await closed(next)
  proxy.set(target, 'pass')
  const after = await open()
  assert.equal(await echo(after, 'two'), 'two')
  after.destroy()
})

test('proxy: stall answers nothing, keeps everything, and goes on where it was', async () => {
  const target = proxy.targets.get(address())
  const old = await open()
  await echo(old, 'one')
  proxy.set(target, 'stall')
  old.write('two')
  const young = await open()
  young.write('three')
  let heard = ''
  for (const socket of [old, young]) {
    socket.on('data', (part) => {
      heard += part
    })
  }
  // Nothing can be awaited that must not come.
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(heard, '')
  proxy.set(target, 'pass')
  while (!(heard.includes('two') && heard.includes('three'))) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  old.destroy()
  young.destroy()
})

test('proxy: a connection waits until the hook has said where it goes', async () => {
  const socket = connect(proxy.port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write('hello')
  proxy.announce({ sourcePort: socket.localPort, host: '127.0.0.1', port: server.address().port })
  const [answer] = await once(socket, 'data')
  assert.equal(String(answer), 'hello')
  socket.destroy()
})

test('proxy: protocols are known by their first bytes', () => {
  const startup = Buffer.from([0, 0, 0, 8, 0, 3, 0, 0, 0, 0])
  const ssl = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
  for (const [bytes, side, protocol] of [
    [startup, 'client', 'postgres'],
    [ssl, 'client', 'postgres'],
    [Buffer.from([74, 0, 0, 0, 10, 53, 46]), 'server', 'mysql'],
    [Buffer.from('*1\r\n$4\r\nPING\r\n'), 'client', 'redis'],
    [Buffer.from('GET /x HTTP/1.1\r\n'), 'client', 'http'],
    [Buffer.from([0x16, 0x03, 0x01, 0x02]), 'client', 'tls'],
    [Buffer.from('AMQP\0\0\x09\x01'), 'client', 'amqp'],
    [Buffer.from('whatever it is'), 'client', 'unknown'],
  ]) {
    assert.equal(recogniseProtocol(bytes, side), protocol)
  }
  assert.equal(roleOf({ protocol: 'redis' }), 'cache')
  assert.equal(roleOf({ protocol: 'mysql' }), 'database')
})
