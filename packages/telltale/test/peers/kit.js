// What the launched services have in common. `EXIT_CODE` is how they end when they are told to;
// STUBBORN ones do not end.
const { init } = require('@telltale/node')

const { EXIT_CODE = '0', STUBBORN } = process.env

init({
  service: 'launched',
  shutdown: {
    closers: [
      () => {
        process.exitCode = Number(EXIT_CODE)
      },
    ],
  },
})
if (STUBBORN) for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {})
