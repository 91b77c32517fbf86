import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readProbes } from '../../dist/verify/health.js'

test('health: probe paths are read from Kubernetes manifests', () => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-health-'))
  mkdirSync(join(folder, 'k8s'))
  writeFileSync(
    join(folder, 'k8s', 'service.yaml'),
    `spec:
  containers:
    - livenessProbe:
        httpGet:
          path: /-/alive
          port: 3000
      readinessProbe:
        httpGet: { path: "/-/ready", port: 3000 }
`,
  )
  assert.deepEqual(readProbes(folder), { live: '/-/alive', ready: '/-/ready' })
  assert.deepEqual(readProbes(`${tmpdir()}/nowhere-at-all`), {})
  rmSync(folder, { recursive: true })
})
