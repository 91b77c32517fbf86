// What the official SDK of a major version sends: sdk.js 8
const major = Number(process.argv[2])
const Sentry = require(`sentry-${major}`)

Sentry.init({ dsn: process.env.SENTRY_DSN })
Sentry.setTag('major', major)
Sentry.captureException(new TypeError('small'))
Sentry.captureMessage('large', {
  extra: { text: Array.from({ length: 900 }, (_, n) => `${'x'.repeat(99)}${n}`) },
})
Sentry.withScope((scope) => {
  scope.addAttachment({ filename: 'a.txt', data: `line\nof ${major}\n` })
  Sentry.captureMessage('with an attachment')
})
Sentry.flush(10_000).then((isSent) => process.exit(isSent ? 0 : 1))
