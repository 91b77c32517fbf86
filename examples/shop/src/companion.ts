/** Loaded into the services that start.ts runs (`--import`): when start.ts is gone, they shut down too. */
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
process.channel?.unref()
