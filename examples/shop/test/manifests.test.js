// No container engine runs here: what can be checked of the manifests without one.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'

const text = (path) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), 'utf8')
const documents = (path) =>
  parseAllDocuments(text(path)).map((document) => {
    assert.deepEqual(document.errors, [])
    return document.toJS()
  })

const SHUTDOWN_SECONDS = 25
const LIVE = '/api/v1/health/live/'
const READY = '/api/v1/health/ready/'

for (const [name, file] of [
  ['shop', 'main'],
  ['pricing', 'pricing'],
]) {
  test(`Kubernetes: ${name} is probed and ended the way the kit expects`, () => {
    const [deployment, service] = documents(`k8s/${name}.yaml`)
    const pod = deployment.spec.template.spec
    const [container] = pod.containers
    assert.equal(container.startupProbe.httpGet.path, LIVE)
    assert.equal(container.readinessProbe.httpGet.path, READY)
    assert.equal(container.livenessProbe.httpGet.path, LIVE)
    // The kit answers a probe within 900 ms.
    assert.ok(container.readinessProbe.timeoutSeconds >= 2)
    assert.ok(pod.terminationGracePeriodSeconds >= SHUTDOWN_SECONDS + 5)
    assert.equal(container.lifecycle, undefined)
    assert.deepEqual(container.command, ['node', `examples/shop/dist/${file}.js`])
    assert.deepEqual(deployment.spec.selector.matchLabels, service.spec.selector)
    assert.deepEqual(deployment.spec.template.metadata.labels, service.spec.selector)
    assert.equal(service.spec.ports[0].targetPort, container.ports[0].name)
    const [config, secret] = documents('k8s/config.yaml')
    assert.deepEqual(container.envFrom, [
      { configMapRef: { name: config.metadata.name } },
      { secretRef: { name: secret.metadata.name } },
    ])
  })
}

test('compose: web waits for healthy servers and is given time to end', () => {
  const { services, volumes } = parse(text('compose.yaml'))
  for (const [name, { condition }] of Object.entries(services.web.depends_on)) {
    assert.equal(condition, 'service_healthy')
    assert.ok(services[name].healthcheck || services[name].build, `${name} has a health check`)
  }
  assert.ok(Number.parseInt(services.web.stop_grace_period, 10) > SHUTDOWN_SECONDS)
  assert.deepEqual(Object.keys(volumes), ['db'])
  const { hostname, port } = new URL(services.web.environment.DATABASE_URL)
  assert.ok(services[hostname])
  assert.equal(port, '5432')
})

test('Dockerfile: what it copies exists, node gets the signals, nobody is root', () => {
  const lines = text('Dockerfile').split('\n')
  for (const line of lines.filter((l) => l.startsWith('COPY ') && !l.includes('--from'))) {
    for (const source of line.split(' ').slice(1, -1)) {
      assert.ok(existsSync(fileURLToPath(new URL(`../../../${source}`, import.meta.url))), source)
    }
  }
  assert.ok(lines.includes('CMD ["node", "examples/shop/dist/main.js"]'))
  assert.ok(lines.includes('USER node'))
  assert.match(text('Dockerfile'), /HEALTHCHECK[^\n]*\\\n[^\n]*health\/live\//)
})
