/** The command line: which command, and its exit code. */
import { verify } from './verify/command.js'
import { VERSION } from './version.js'

const HELP = `telltale <command>

  verify    prove that a service is observable: start it, cut its database, kill it, judge what came out

telltale verify --help tells more.`

/** Runs a command and sets the exit code; never throws. */
export async function main(argv: readonly string[]): Promise<void> {
  const [command, ...rest] = argv
  if (command === 'verify') {
    const code = await verify(rest)
    // Everything is closed; a wait that is under way must not hold the answer back.
    process.stdout.write('', () => process.exit(code))
  } else if (command === '--version' || command === '-v') process.stdout.write(`${VERSION}\n`)
  else if (
    command === undefined ||
    command === '--help' ||
    command === '-h' ||
    command === 'help'
  ) {
    process.stdout.write(`${HELP}\n`)
    process.exitCode = command === undefined ? 2 : 0
  } else {
    process.stderr.write(`"${command}" is not a command of telltale.\n\n${HELP}\n`)
    process.exitCode = 2
  }
}
