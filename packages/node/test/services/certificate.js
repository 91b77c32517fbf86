import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, temporaryFolder } from './server.js'

/** A self-signed certificate for localhost and 127.0.0.1: its texts, and the file to trust it by. */
export function makeCertificate() {
  const openssl = findProgram(['openssl'], [], 'openssl')
  const folder = temporaryFolder('certificate')
  const file = join(folder, 'cert.pem')
  execFileSync(
    openssl,
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
      '-keyout',
      join(folder, 'key.pem'),
      '-out',
      file,
    ],
    { stdio: 'pipe' },
  )
  return { key: readFileSync(join(folder, 'key.pem')), cert: readFileSync(file), file }
}
