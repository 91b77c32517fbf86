// Finds a second Node for the contract suites: 24 when the tests run on an older one, else 20. The
// registry's node-<os>-<cpu> packages hold plain binaries; they stay out of package.json, because
// there their `node` would shadow the user's own in every npm script.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

const VERSIONS = { 20: '20.19.0', 24: '24.21.0' }

/** The path of the other Node, fetched once below node_modules/.cache. TELLTALE_OTHER_NODE names one by hand. */
export function otherNode(root) {
  const current = Number(process.versions.node.split('.')[0])
  const major = current < 24 ? 24 : 20
  const given = process.env.TELLTALE_OTHER_NODE
  if (given) return { major, path: given }
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = join(root, 'node_modules', '.cache', `node-${VERSIONS[major]}`)
  const path = join(folder, 'node_modules', name, 'bin', 'node')
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true })
    const args = ['install', '--no-save', '--no-package-lock', '--no-audit', '--no-fund']
    const run = spawnSync('npm', [...args, '--prefix', folder, `${name}@${VERSIONS[major]}`], {
      encoding: 'utf8',
      cwd: folder,
      env: Object.fromEntries(
        Object.entries(process.env).filter(
          ([key]) => !/^npm_(config_(local_)?prefix|package)/i.test(key),
        ),
      ),
    })
    if (!existsSync(path)) {
      console.error(
        `Node ${major} could not be fetched for the contract suites. Connect to the npm registry, or set TELLTALE_OTHER_NODE to a Node ${major} binary.\n${run.stderr ?? ''}`,
      )
      process.exit(1)
    }
  }
  return { major, path }
}
