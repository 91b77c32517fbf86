/** The version of the kit, as its events, its telltale_started line and package.json name it. */
export const VERSION = '0.1.0'
