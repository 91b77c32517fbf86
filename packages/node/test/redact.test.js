import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { createScrub } from '../dist/esm/errors/scrub.js'
import { createRedactor, MASK } from '../dist/esm/redact.js'
import { configure } from './log/memory.mjs'

const redactor = createRedactor({ keys: [], allow: [], patterns: [] })

const secretKeys =
  'password passwd pwd PASSWORD userPassword user_password newPassword password2 passwordHash passphrase secret clientSecret client_secret SECRET_KEY token accessToken refresh_token authToken id_token apiKey api_key API_KEY APIKey apikey x-api-key X-Api-Key authorization Authorization proxy-authorization cookie Cookie set-cookie setCookie cookies jwt sessionId session_id SESSION-ID connect.sid privateKey private_key csrf csrfToken x-csrf-token X-XSRF-TOKEN credentials cardNumber card_number creditCard cvv CVC awsSecretAccessKey secretAccessKey bearerToken'.split(
    ' ',
  )
const openKeys =
  'passwordResetSent tokenCount maxTokens promptTokens tokens secretary cookieConsent authorized author sessionCount passwords_checked tokenizer key keys id name cardId compass session_started passwordStrength user url path'.split(
    ' ',
  )

test('49: secret keys are known in any case and with any separators', () => {
  for (const key of secretKeys) assert.equal(redactor.isSecretKey(key), true, key)
})

test('49: look-alikes are kept', () => {
  for (const key of openKeys) assert.equal(redactor.isSecretKey(key), false, key)
})

test('redact: the user adds keys, allows keys and adds patterns', (t) => {
  const own = createRedactor({
    keys: ['tax-id'],
    allow: ['page_token'],
    patterns: [/EMP-\d+/],
  })
  assert.equal(own.isSecretKey('taxId'), true)
  assert.equal(own.isSecretKey('customer_tax_id'), true)
  assert.equal(own.isSecretKey('pageToken'), false)
  assert.equal(own.text('EMP-1 and EMP-22'), `${MASK} and ${MASK}`)
  const { log, raw } = configure(t, { redact: { patterns: [/EMP-\d+/] } })
  log.info('employee EMP-1', { who: 'EMP-22' })
  assert.doesNotMatch(raw[0], /EMP-/)
})

const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P'
const texts = [
  ['Authorization: Bearer abc.def-ghi', 'Authorization: [REDACTED]'],
  ['sent Bearer S3cretT0ken to it', 'sent Bearer [REDACTED] to it'],
  ['sent Basic dXNlcjpwYXNz to it', 'sent Basic [REDACTED] to it'],
  [`the jwt is ${jwt}.`, 'the jwt is [REDACTED]'],
  ['card 4111 1111 1111 1111 123 was declined', 'card [REDACTED] 123 was declined'],
  ['card 4111-1111-1111-1111', 'card [REDACTED]'],
  ['order 12 4111111111111111', 'order 12 [REDACTED]'],
  ['postgres://app:hunter2@db:5432/shop', 'postgres://[REDACTED]@db:5432/shop'],
  ['redis://:p@ss@cache:6379', 'redis://[REDACTED]@cache:6379'],
  ['GET /a?token=SECRET&q=1', 'GET /a?token=[REDACTED]&q=1'],
  ['GET /a?q=1&api_key=SECRET#x', 'GET /a?q=1&api_key=[REDACTED]#x'],
  ['GET /a?%74oken=SECRET', 'GET /a?%74oken=[REDACTED]'],
  [
    'https://s3/x?X-Amz-Signature=abc&sig=def',
    'https://s3/x?X-Amz-Signature=[REDACTED]&sig=[REDACTED]',
  ],
  ['{"user":"bob","password":"hunter2","n":1}', '{"user":"bob","password":"[REDACTED]","n":1}'],
  ['{"password": 12345, "n":1}', '{"password": [REDACTED], "n":1}'],
  ['{\\"password\\":\\"hunter2\\"}', '{\\"password\\":\\"[REDACTED]\\"}'],
  ["{ password: 'hunter2', n: 1 }", "{ password: '[REDACTED]', n: 1 }"],
  ['Cookie: sid=abc; theme=dark\r\nHost: x', 'Cookie: [REDACTED]\r\nHost: x'],
  ['host=db password=hunter2 user=app', 'host=db password=[REDACTED] user=app'],
]
for (const [given, expected] of texts) {
  test(`49: masks in a text: ${given.slice(0, 40)}`, () => {
    assert.equal(redactor.text(given), expected)
    assert.equal(redactor.text(redactor.text(given)), expected, 'twice is once')
  })
}

const prose = [
  'Unexpected token: < in JSON at position 0',
  'Basic authentication is required',
  'bearer token missing',
  'order 1234567890123 at 1763971200000',
  'id 3f2b1c9e-8d1a-4c0e-9b1e-5d8f7c6a5b4c',
  'at 2026-11-24T08:33:24.123Z',
  'mail bob@example.com about https://host/@scope/pkg',
  'a = b, c == d, token count=3',
  'TypeError: x is not a function\n    at f (file:///app/x.js:10:5)',
]
for (const text of prose) {
  test(`49: leaves prose alone: ${text.slice(0, 40)}`, () =>
    assert.equal(redactor.text(text), text))
}

test('redact: url() removes userinfo and masks values, keeps keys and all else', () => {
  assert.equal(redactor.url('https://u:p@h/a?token=x&q=1#f'), `https://h/a?token=${MASK}&q=1#f`)
  assert.equal(redactor.url('/a?password=x&b='), `/a?password=${MASK}&b=`)
  assert.equal(redactor.url('//evil.com/a'), '//evil.com/a')
  assert.equal(redactor.url('/%ZZ?%ZZ=1'), '/%ZZ?%ZZ=1')
})

test('49: no secret gets out at depths 1 to 8, in arrays, Maps, errors, causes, child and bound fields', (t) => {
  const { log, raw } = configure(t)
  const SECRET = 'hunter2-SECRET'
  const seed = () => ({
    password: SECRET,
    Authorization: `Bearer ${SECRET}`,
    Cookie: `sid=${SECRET}`,
    'Set-Cookie': [`sid=${SECRET}`],
    apiKey: SECRET,
    'x-api-key': SECRET,
    session: { sessionId: SECRET },
    note: `Bearer ${SECRET}`,
    card: '4111111111111111',
    number: 4111111111111111,
    jwt_text: `see ${jwt}`,
    dsn: `https://u:${SECRET}@h/1`,
    query: `/x?token=${SECRET}`,
    body: JSON.stringify({ password: SECRET }),
    rawHeaders: ['Authorization', SECRET],
    passwordResetSent: true,
    tokenCount: 3,
  })
  for (let depth = 1; depth <= 8; depth++) {
    let value = seed()
    for (let i = 1; i < depth; i++)
      value = i % 3 === 0 ? [value] : i % 3 === 1 ? { in: value } : new Map([['in', value]])
    log.info('depth', { value })
    assert.match(raw.at(-1), /"passwordResetSent":true,"tokenCount":3/, `depth ${depth}`)
  }
  const axios = Object.assign(new Error(`failed with Bearer ${SECRET}`), {
    config: { headers: { Authorization: `Bearer ${SECRET}` }, data: `{"password":"${SECRET}"}` },
    code: `token=${SECRET}`,
  })
  log.error('axios', axios)
  log.error('cause', new Error('outer', { cause: axios }))
  log.error('in place', {
    list: [axios],
    map: new Map([['token', SECRET]]),
    pairs: new Map([
      [1, 2],
      ['token', SECRET],
    ]),
  })
  log.child(seed()).info('child', seed())
  log.info(`text token=${SECRET}`, { [`token=${SECRET}`]: 1 })
  log.info('url %s', `http://u:${SECRET}@h/?token=${SECRET}`)
  log.info('long', { text: `${'x'.repeat(20_000)} Bearer ${SECRET}` })
  for (const text of raw) {
    assert.doesNotMatch(text, /hunter2|SECRET-|4111|dozjgN/, text)
    JSON.parse(text)
  }
})

const SECRET = 'hunter2-opaque'
const HEADER_LISTS = [
  [
    'pairs',
    [
      { name: 'Authorization', value: SECRET },
      { name: 'accept', value: 'a/b' },
    ],
  ],
  ['keys', [{ key: 'x-api-key', value: SECRET, secure: true }]],
  ['header', [{ header: 'Set-Cookie', value: [SECRET] }]],
  ['cookies', [{ name: 'sid', value: SECRET, path: '/' }]],
  ['raw', ['Host', 'h', 'Authorization', SECRET, 'X-Api-Key', SECRET, 'accept', 'a/b']],
  ['raw with lists', ['set-cookie', [SECRET], 'cookie', SECRET]],
  [
    'nested',
    [
      ['x-csrf-token', SECRET],
      ['accept', 'a/b'],
    ],
  ],
  ['a Set', new Set([{ name: 'password', value: SECRET }])],
  ['deep', [[{ list: [{ name: 'proxy-authorization', value: SECRET }] }]]],
]

test('49: the value beside a secret name gets out of no list of headers, in lines and in events', (t) => {
  const { log, raw } = configure(t)
  const scrub = createScrub(redactor)
  for (const [what, value] of HEADER_LISTS) {
    log.info('listed', { [what]: value })
    const event = JSON.stringify(scrub.value(value, { left: 10_000 }))
    for (const text of [raw.at(-1), event]) {
      assert.doesNotMatch(text, /hunter2/, what)
      assert.ok(text.includes(MASK), what)
    }
  }
  assert.match(raw[0], /\{"name":"accept","value":"a\/b"\}/)
  assert.match(raw[1], /"secure":true/)
  assert.match(raw[4], /"Host","h","Authorization","\[REDACTED\]".*"accept","a\/b"/)
  // The caller's own values stay as they are.
  assert.equal(HEADER_LISTS[0][1][0].value, SECRET)
})

test('49: lists that only look like headers are kept', (t) => {
  const { lines, log } = configure(t)
  const kept = [
    ['password', 'email'],
    ['missing', 'token', 'password', 'name'],
    ['authorization', 'b', 'c'],
    ['11111111-aaaa-4bbb-8ccc-222222222222', 'a', 'a-b', 'c'],
    [{ name: 'quantity', value: 7 }, { name: 'token' }, null, 7, ['a', 'b']],
    [{ key: 'passwordResetSent', value: true }],
  ]
  for (const list of kept) {
    log.info('listed', { list })
    assert.deepEqual(lines().at(-1).list, list)
  }
})

test('redact: an element that cannot be read is handed on as it is', () => {
  const hostile = new Proxy({}, { get: () => assert.fail('trap') })
  const throwing = {
    name: 'authorization',
    get value() {
      throw new Error('getter')
    },
  }
  assert.equal(redactor.element([hostile], 0), hostile)
  assert.equal(redactor.element([throwing], 0), throwing)
  assert.equal(redactor.element([], 3), undefined)
})

test('49: a secret that straddles the cut of a long text does not get out', () => {
  const head = 'https://host/?q='
  for (let length = 900; length < 1100; length++) {
    const text = `${head}${'x'.repeat(length)}&token=hunter2hunter2hunter2`
    assert.doesNotMatch(redactor.text(text), /hunter2/)
  }
})

test('property: a secret under a secret key gets out of no shape of object', (t) => {
  const { log, raw } = configure(t)
  const tree = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 6 },
      fc.record({ password: fc.constant('s3cr3t-value') }),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(fc.string(), tie('node'), { maxKeys: 3 }),
      fc.constantFrom(...secretKeys).map((key) => ({ [key]: 's3cr3t-value' })),
      fc.constantFrom(...secretKeys).map((key) => new Map([[key, 's3cr3t-value']])),
      fc.constantFrom(...secretKeys).map((key) => `/p?${key}=s3cr3t-value&x=1`),
    ),
  })).node
  fc.assert(
    fc.property(tree, (value) => {
      raw.length = 0
      log.info('tree', { value })
      assert.doesNotMatch(raw[0], /s3cr3t/)
    }),
    { numRuns: 1000 },
  )
})

test('redact: hostile texts take time linear in their length', () => {
  const hostile = [
    'a'.repeat(200_000),
    '='.repeat(200_000),
    'token='.repeat(40_000),
    'a://'.repeat(50_000),
    `a://${'b@'.repeat(100_000)}`,
    '4 '.repeat(100_000),
    '4'.repeat(200_000),
    'eyJ'.repeat(70_000),
    'bearer '.repeat(30_000),
    `bearer${' '.repeat(200_000)}`,
    '":'.repeat(100_000),
    `token:"${'\\'.repeat(200_000)}`,
  ]
  for (const text of hostile) {
    const startMs = performance.now()
    redactor.text(text)
    const tookMs = performance.now() - startMs
    assert.ok(tookMs < 2000, `${tookMs} ms for ${text.slice(0, 10)}`)
  }
})

test('the digits of an id are no card number', () => {
  for (const id of [
    '74f05a11-7a54-4f3e-9df0-60c2c28922bf',
    '40361234-1234-4123-8123-123456789012',
    'c5ca36928350722500cef13e8f818a2d',
    '4b36928350722500',
  ]) {
    assert.equal(redactor.text(id), id)
    assert.equal(redactor.text(`id ${id}.`), `id ${id}.`)
  }
  assert.equal(redactor.text('order-4111 1111 1111 1111').includes('4111'), false)
  assert.equal(redactor.text('card=4111111111111111,').includes('4111'), false)
})
