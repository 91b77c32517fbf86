// Proof that nothing leaves this machine: a network namespace without routes, where the system allows
// one, and the system calls themselves, where they may be traced. One of the two has to be possible.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const works = (program, ...args) => spawnSync(program, args, { stdio: 'ignore' }).status === 0
const canUnshare = works('unshare', '-rn', 'ip', 'link', 'set', 'lo', 'up')
const canTrace = works('strace', '-qq', '-o', '/dev/null', 'true')

/** The start of a command line that runs the rest of it without a network; `trace` is a file to write. */
export function withoutNetwork(trace) {
  assert.ok(
    canUnshare || canTrace,
    'neither unshare -rn nor strace works here; install it with: apt-get install strace iproute2',
  )
  const calls = 'trace=connect,sendto,sendmsg,sendmmsg'
  return [
    ...(canUnshare ? ['unshare', '-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'] : []),
    ...(canTrace ? ['strace', '-f', '-qq', '-e', calls, '-e', 'signal=none', '-o', trace] : []),
  ]
}

/** Fails when a traced process meant to send something beyond this machine, DNS included. */
export function assertStayed(trace) {
  if (!canTrace) return
  const calls = readFileSync(trace, 'utf8').split('\n')
  const inet = calls.filter((call) => /sa_family=AF_INET6?,/.test(call))
  assert.ok(inet.length > 0, 'the trace has the connections to the service')
  assert.deepEqual(
    inet.filter((call) => !/inet_addr\("127\.|"::1"|"::ffff:127\.|htons\(0\)/.test(call)),
    [],
  )
}
